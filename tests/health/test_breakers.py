"""Open breakers degrade an instance and show in the metrics, fleet-wide."""

from datetime import timedelta

import pytest
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from breakers.models import BreakerState
from health.dependencies import Breakers
from health.ledgerwork import LedgerFacts
from health.metrics import Measures, expose
from health.snapshot import State
from ledger.state import state

pytestmark = pytest.mark.django_db


def make_row(name="openai", **columns):
    return BreakerState.objects.create(name=name, updated_at=timezone.now(), **columns)


def test_closed_breakers_pass():
    make_row()

    found = Breakers().check()

    assert (found.state, found.error) == (State.PASS, "")


@pytest.mark.parametrize(
    ("columns", "shown"),
    [
        ({"state": "OPEN", "open_until": timedelta(minutes=1)}, "OPEN"),
        ({"state": "OPEN", "open_until": timedelta(minutes=-1)}, "HALF_OPEN"),
        ({"override": "forced_open"}, "FORCED_OPEN"),
    ],
)
def test_a_breaker_that_refuses_calls_warns_by_name(columns, shown):
    if "open_until" in columns:
        columns = columns | {"open_until": timezone.now() + columns["open_until"]}
    make_row(**columns)

    found = Breakers().check()

    assert (found.state, found.error) == (State.WARN, f"openai {shown}")


def test_a_disabled_breaker_refuses_nothing_but_is_named():
    make_row(state="OPEN", override="disabled")

    found = Breakers().check()

    assert (found.state, found.error) == (State.PASS, "openai DISABLED")


def test_it_never_makes_an_instance_unready():
    assert Breakers.required is False


def test_the_state_is_one_of_six_series_a_breaker():
    facts = LedgerFacts(state(), {}, {"openai": "HALF_OPEN"})

    text = expose(Measures(), lambda: facts).decode()

    families = {one.name: one for one in text_string_to_metric_families(text)}
    samples = families["ftw_breaker_state"].samples
    assert {one.labels["state"]: one.value for one in samples} == {
        "closed": 0,
        "open": 0,
        "half_open": 1,
        "forced_open": 0,
        "disabled": 0,
        "metrics_only": 0,
    }
