"""Dangerous and impossible settings have numbered checks."""

import pytest
from django.core import checks
from django.test import override_settings

from fortheweebs.checks import refuse_bad_settings

SAFE = {
    "ALLOWED_HOSTS": ["example.com"],
    "DEBUG": False,
    "HTTPS_ONLY": True,
    "TRUSTED_PROXIES": 1,
    "LOCAL_OPERATOR": False,
    "ROLE": "web",
}


def found(*, deploy: bool = False, **values: object) -> set[str]:
    """Return the ids of the project's own findings."""
    with override_settings(**{**SAFE, **values}):
        messages = checks.run_checks(
            tags=["security"], include_deployment_checks=deploy
        )
    return {m.id for m in messages if m.id.startswith("fortheweebs.")}


def test_safe_settings_are_silent():
    assert found() == set()


@pytest.mark.parametrize(
    ("values", "number"),
    [
        ({"ALLOWED_HOSTS": ["*"]}, "E001"),
        ({"DEBUG": True}, "E002"),
        ({"LOCAL_OPERATOR": True}, "E003"),
        ({"PORT": 5, "PROBE_PORT": 5}, "E004"),
        ({"TRUSTED_PROXIES": 0}, "E005"),
        ({"OPENAI_API_KEY": "k"}, "E006"),
        ({"SUPABASE_URL": "https://x"}, "E007"),
        ({"COINBASE_API_KEY": "k"}, "E007"),
    ],
)
def test_a_bad_setting_is_refused_by_its_number(values, number):
    assert found(**values) == {f"fortheweebs.{number}"}


def test_gevent_is_refused(monkeypatch):
    monkeypatch.setenv("GUNICORN_CMD_ARGS", "-k gevent")

    assert found() == {"fortheweebs.E008"}


def test_a_secret_key_that_others_can_read_is_refused(tmp_path):
    (tmp_path / "secret_key").write_text("x")
    (tmp_path / "secret_key").chmod(0o644)

    assert found(DATA_DIR=tmp_path) == {"fortheweebs.E010"}


def test_a_deployment_is_told_its_connections_and_what_it_lacks():
    ids = found(deploy=True, EMBEDDED_REDIS=True, STRIPE_API_KEY="k")

    assert {"fortheweebs.W001", "fortheweebs.W003", "fortheweebs.I001"} <= ids


def test_a_command_in_a_shell_needs_no_proxy():
    assert found(TRUSTED_PROXIES=0, ROLE="command") == set()
    assert "fortheweebs.E005" in found(deploy=True, TRUSTED_PROXIES=0, ROLE="command")


def test_a_server_does_not_start_with_a_refused_setting():
    bad = override_settings(**{**SAFE, "ALLOWED_HOSTS": ["*"]})

    with bad, pytest.raises(SystemExit, match="E001"):
        refuse_bad_settings()
