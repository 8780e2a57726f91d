"""What gunicorn is told before it serves."""

import pytest
from django.test import override_settings

from health.hooks import refuse_open_bind

OPEN = [("0.0.0.0", 3001), ("::", 3001), ("10.0.0.5", 80), ("example.com", 80)]
LOCAL = [("127.0.0.1", 3001), ("::1", 3001), ("localhost", 3001), "/run/web.sock"]


@override_settings(LOCAL_OPERATOR=True)
@pytest.mark.parametrize("address", OPEN, ids=str)
def test_a_local_operator_refuses_an_open_bind_given_to_gunicorn(address):
    with pytest.raises(SystemExit, match="LOCAL_OPERATOR"):
        refuse_open_bind([("127.0.0.1", 3001), address])


@override_settings(LOCAL_OPERATOR=True)
def test_a_local_operator_serves_on_loopback():
    refuse_open_bind(LOCAL)


@override_settings(LOCAL_OPERATOR=False)
def test_without_a_local_operator_every_address_may_be_served():
    refuse_open_bind(OPEN)
