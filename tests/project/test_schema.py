"""The OpenAPI document against the application: what it says is what is answered."""

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from django.contrib.auth.models import User
from django.core import signals
from django.db import close_old_connections
from drf_spectacular.generators import SchemaGenerator
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from knox.models import AuthToken
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from fortheweebs.wsgi import utf8_only
from ledger import sequencer
from ledger.services import record
from tests.project.test_bad_input import WITHOUT_SAMPLER

CHECKS = [
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
]
few = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    verbosity=Verbosity.quiet,
    suppress_health_check=list(HealthCheck),
)


def document() -> Any:
    """Return the document as a schema to draw requests from."""
    made = SchemaGenerator().get_schema(request=None, public=True)
    schema = schemathesis.openapi.from_dict(made)
    schema.app = utf8_only
    return schema


SCHEMA = document()
OPERATIONS = {found.ok().label: found.ok() for found in SCHEMA.get_all_operations()}


@pytest.fixture(autouse=True)
def _connection_of_the_test() -> Iterator[None]:
    """Let no request end the transaction of the test, as the test client sees to."""
    both = (signals.request_started, signals.request_finished)
    for signal in both:
        signal.disconnect(close_old_connections)
    yield
    for signal in both:
        signal.connect(close_old_connections)


@pytest.fixture
def staff(db: None, settings: Any) -> dict[str, str]:
    settings.THROTTLE_RATES = dict.fromkeys(settings.THROTTLE_RATES)
    ann = User.objects.create_superuser("ann")
    _, token = AuthToken.objects.create(ann, dt.timedelta(days=1))
    record(type="restart", source="watchdog", subject="process:web-1/1", n=1)
    sequencer.sequence_all()
    return {"Authorization": f"Bearer {token}", "Host": "localhost"}


@pytest.mark.parametrize("label", sorted(OPERATIONS))
def test_an_operation_answers_as_it_is_documented(staff, label):
    operation = OPERATIONS[label]

    @few
    @given(case=operation.as_strategy())
    def ask(case: Any) -> None:
        answer = case.call(headers=staff, base_url="http://localhost")
        assert answer.status_code < 500 or operation.path in WITHOUT_SAMPLER
        case.validate_response(
            answer, checks=CHECKS, excluded_checks=[not_a_server_error]
        )

    ask()
