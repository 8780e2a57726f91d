"""What Prometheus is told: every call once, every change made here once."""

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from breakers import registry
from breakers.guard import CircuitBreaker
from breakers.listeners import on_transition
from breakers.metrics import Measures
from breakers.pulse import pulse

pytestmark = pytest.mark.usefixtures("_alone")


@pytest.fixture
def prometheus():
    return CollectorRegistry()


@pytest.fixture
def measures(prometheus):
    made = Measures(prometheus)
    take_off = on_transition(made.note)
    yield made
    take_off()


@pytest.fixture
def breaker(measures):
    made = registry.get_breaker("measured", failure_threshold=3, reset_timeout=1e-6)
    measures.join(made)
    yield made
    registry._breakers.pop("measured")


def fail(breaker: CircuitBreaker, times: int) -> None:
    for _ in range(times):
        with pytest.raises(ZeroDivisionError):
            breaker.execute(lambda: 1 / 0)


def calls(prometheus: CollectorRegistry) -> dict[str, float]:
    return {
        sample.labels["outcome"]: sample.value
        for family in prometheus.collect()
        for sample in family.samples
        if sample.name == "ftw_breaker_calls_total"
    }


def test_each_call_is_counted_once_however_often_it_is_flushed(
    measures, breaker, prometheus
):
    for _ in range(5):
        breaker.execute(lambda: 1)
    measures.flush()
    measures.flush()
    fail(breaker, 2)
    measures.flush()

    assert calls(prometheus) == {"success": 5, "failure": 2}


def test_a_child_counts_only_its_own_calls(measures, breaker, prometheus):
    breaker.execute(lambda: 1)
    measures.flush()
    breaker.execute(lambda: 1)  # the parent has not written this one yet
    measures.forked()
    measures.join(breaker)

    breaker.execute(lambda: 1)
    measures.flush()

    assert calls(prometheus) == {"success": 2}


def test_a_measured_call_is_written_once_however_often_it_is_flushed(
    measures, breaker, prometheus
):
    pulse._watched.discard(breaker)  # a second passes when told
    breaker.tend()
    breaker.execute(lambda: 1)
    breaker.execute(lambda: 1)

    measures.flush()
    measures.flush()

    name = "ftw_breaker_call_duration_seconds"
    labels = {"breaker": "measured"}
    assert prometheus.get_sample_value(f"{name}_count", labels) == 1
    assert prometheus.get_sample_value(f"{name}_bucket", {**labels, "le": "1.0"}) == 1


def test_changes_and_the_time_it_was_open_are_counted(measures, breaker, prometheus):
    fail(breaker, 3)
    for _ in range(3):
        breaker.execute(lambda: 1)

    def value(name: str, **labels: str) -> float | None:
        return prometheus.get_sample_value(name, {"breaker": "measured", **labels})

    changes = [("closed", "open"), ("open", "half_open"), ("half_open", "closed")]
    assert [
        value("ftw_breaker_transitions_total", **{"from": old, "to": new})
        for old, new in changes
    ] == [1, 1, 1]
    assert value("ftw_breaker_open_seconds_count") == 1
    assert value("ftw_breaker_open_seconds_bucket", le="1.0") == 1


def test_a_change_made_elsewhere_is_counted_there(measures, breaker, prometheus):
    other = CircuitBreaker("other", failure_threshold=1)
    fail(other, 1)
    told = other.circuit.row()

    CircuitBreaker("third").adopt(told)

    labels = {"from": "closed", "to": "open"}
    name = "ftw_breaker_transitions_total"
    assert prometheus.get_sample_value(name, {"breaker": "third", **labels}) is None
    assert prometheus.get_sample_value(name, {"breaker": "other", **labels}) == 1


def test_what_several_processes_count_is_one_sum_on_the_probe_port(
    deployment, tmp_path
):
    members = deployment.start(2)  # each made one good call
    for member in members:
        member.do("measured")
    members[0].do("fail")
    members[1].do("good", 9)
    for member in members:
        deployment.end(member)

    merged = CollectorRegistry()
    MultiProcessCollector(merged, str(tmp_path / "run" / "prom" / "worker"))

    told = [
        merged.get_sample_value(
            "ftw_breaker_calls_total", {"breaker": "search", "outcome": outcome}
        )
        for outcome in ("success", "failure")
    ]
    durations = "ftw_breaker_call_duration_seconds_count"
    assert told == [13, 5]
    assert merged.get_sample_value(durations, {"breaker": "search"}) >= 2
