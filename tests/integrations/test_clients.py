"""The real SDKs against loopback counterparts that misbehave."""

import time

import pytest

from breakers import (
    CallTimeoutError,
    CircuitOpenError,
    CircuitState,
    deadline,
    get_breaker,
    registry,
)
from integrations.errors import (
    NotConfiguredError,
    ServiceFailedError,
    ServiceRefusedError,
    ServiceThrottledError,
    UnreadableAnswerError,
)
from tests.integrations.services import SERVICES

NAMES = sorted(SERVICES)
every_service = pytest.mark.parametrize("name", NAMES)


@every_service
def test_a_good_answer_is_returned_and_counted(start, name):
    fake = start(name)

    answer = SERVICES[name].ask()

    assert answer
    assert len(fake.requests) == 1
    assert get_breaker(name).counts()["success"] == 1


@every_service
def test_a_ping_changes_nothing(start, name):
    fake = start(name)

    SERVICES[name].ping()

    assert [seen.method for seen in fake.requests] in (["GET"], ["HEAD"])


@every_service
def test_a_500_is_tried_again_and_counts_once_a_try(start, name):
    fake = start(name, "500", "500", "ok")

    SERVICES[name].ask()

    counts = get_breaker(name).counts()
    assert len(fake.requests) == 3
    assert (counts["failure"], counts["success"]) == (2, 1)


@every_service
def test_a_third_500_is_given_up_and_says_its_status(start, name):
    fake = start(name, "500", "502", "503", "ok")

    with pytest.raises(ServiceFailedError) as failed:
        SERVICES[name].ask()

    assert len(fake.requests) == 3
    assert (failed.value.name, failed.value.status) == (name, 503)
    assert failed.value.__cause__ is not None


@every_service
@pytest.mark.parametrize(
    ("answer", "seconds"), [("429", 5), ("429:7", 7), ("503:7", 7)]
)
def test_a_throttled_call_holds_the_circuit_that_long(start, name, answer, seconds):
    fake = start(name, answer)

    with pytest.raises(ServiceThrottledError) as throttled:
        SERVICES[name].ask()
    with pytest.raises(CircuitOpenError) as refused:
        SERVICES[name].ask()

    counts = get_breaker(name).counts()
    assert throttled.value.retry_after == seconds
    assert seconds - 2 < refused.value.retry_after <= seconds
    assert (counts["throttled"], counts["failure"]) == (1, 0)
    assert len(fake.requests) == 1


@every_service
@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422])
def test_our_own_mistake_says_nothing_about_the_service(start, name, status):
    fake = start(name, str(status))

    with pytest.raises(ServiceRefusedError):
        SERVICES[name].ask()

    counts = get_breaker(name).counts()
    assert len(fake.requests) == 1
    assert (counts["ignored"], counts["failure"]) == (1, 0)


@every_service
def test_a_malformed_200_is_a_failure_of_the_service(start, name):
    fake = start(name, "garbage", "garbage", "garbage")

    with pytest.raises((UnreadableAnswerError, ServiceFailedError)):
        SERVICES[name].ask()

    assert get_breaker(name).counts()["failure"] == len(fake.requests) == 3


def test_an_answer_of_the_wrong_shape_is_a_failure_too(start):
    start("openai", "empty", "empty", "empty")

    with pytest.raises(UnreadableAnswerError):
        SERVICES["openai"].ask()

    assert get_breaker("openai").counts()["failure"] == 3


@every_service
@pytest.mark.parametrize("how", ["cut", "drop"])
def test_a_cut_connection_is_tried_again(start, name, how):
    fake = start(name, how, "ok")

    SERVICES[name].ask()

    assert len(fake.requests) == 2
    assert get_breaker(name).counts()["failure"] == 1


@every_service
def test_nobody_there_is_a_failure(start, settings, name):
    start(name)
    for key, value in SERVICES[name].settings("http://127.0.0.1:1").items():
        setattr(settings, key, value)

    with pytest.raises(ServiceFailedError):
        SERVICES[name].ask()

    assert get_breaker(name).counts()["failure"] == 3


@every_service
@pytest.mark.parametrize("how", ["slow:5", "trickle:5"])
def test_the_callers_deadline_reaches_the_sdk(start, name, how):
    start(name, "ok", how)
    SERVICES[name].ask()
    started = time.monotonic()

    with deadline(0.3), pytest.raises(CallTimeoutError):
        SERVICES[name].ask()

    assert 0.25 < time.monotonic() - started < 4  # not the 5 s of the answer
    assert get_breaker(name).counts()["timeout"] == 1


@every_service
def test_the_breakers_own_limit_reaches_the_sdk(start, name):
    registry.configure({name: {"timeout": 0.3}})
    start(name, "ok", "trickle:5", "trickle:5", "trickle:5")
    SERVICES[name].ask()
    started = time.monotonic()

    with pytest.raises(CallTimeoutError):
        SERVICES[name].ask()

    assert 0.25 < time.monotonic() - started < 4  # not the 5 s of the answer


@every_service
def test_five_failures_open_the_circuit_and_the_sixth_call_sends_nothing(start, name):
    fake = start(name, *["500"] * 9)
    for _ in range(2):
        with pytest.raises((ServiceFailedError, CircuitOpenError)):
            SERVICES[name].ask()

    with pytest.raises(CircuitOpenError):
        SERVICES[name].ask()

    assert len(fake.requests) == 5
    assert get_breaker(name).state is CircuitState.OPEN


@every_service
def test_a_client_without_its_key_names_the_setting(settings, name):
    for key in SERVICES[name].settings(""):
        setattr(settings, key, "")

    with pytest.raises(NotConfiguredError) as missing:
        SERVICES[name].ask()

    assert missing.value.setting.startswith(name.upper())
    assert name.upper() in str(missing.value)


@every_service
def test_the_text_of_an_error_quotes_nothing_that_was_sent(start, name):
    start(name, "400")

    with pytest.raises(ServiceRefusedError) as refused:
        SERVICES[name].ask()

    assert "fake" not in str(refused.value)
    assert "Hello" not in str(refused.value)
