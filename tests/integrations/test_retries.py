"""How often a call is tried, and when it is not tried again."""

import logging
import time

import pytest

from breakers import CallTimeoutError, CircuitOpenError, get_breaker, remaining
from integrations.errors import (
    MisuseError,
    NotConfiguredError,
    ServiceFailedError,
    ServiceThrottledError,
    SignatureError,
    UnreadableAnswerError,
)
from integrations.retries import protected_call
from integrations.verdicts import is_failure


class Calls:
    """A call that fails in a given time, so many times, and counts its tries."""

    def __init__(self, *errors: Exception, seconds: float = 0.0) -> None:
        self.errors, self.seconds, self.tries = list(errors), seconds, 0

    def __call__(self) -> str:
        self.tries += 1
        left = remaining()
        time.sleep(self.seconds if left is None else min(self.seconds, left))
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def test_a_call_that_may_be_repeated_is_tried_three_times():
    calls = Calls(ConnectionError(), ConnectionError())

    assert protected_call(get_breaker("r"), calls, idempotent=True) == "done"
    assert calls.tries == 3


def test_the_third_error_is_the_callers():
    calls = Calls(*(ConnectionError(str(number)) for number in range(9)))

    with pytest.raises(ConnectionError, match="2"):
        protected_call(get_breaker("r"), calls, idempotent=True)

    assert calls.tries == 3


def test_a_call_that_writes_is_tried_once():
    calls = Calls(ConnectionError())

    with pytest.raises(ConnectionError):
        protected_call(get_breaker("r"), calls, idempotent=False)

    assert calls.tries == 1


def test_a_circuit_that_opens_between_two_tries_ends_them():
    breaker = get_breaker("r", failure_threshold=2)
    calls = Calls(ConnectionError(), ConnectionError())

    with pytest.raises(CircuitOpenError):
        protected_call(breaker, calls, idempotent=True)

    assert calls.tries == 2
    assert breaker.counts()["rejected"] == 1


def test_all_tries_together_have_the_limit_of_one():
    breaker = get_breaker("r", timeout=2.0)
    calls = Calls(*[ConnectionError()] * 3, seconds=1.0)
    started = time.monotonic()

    with pytest.raises((ConnectionError, CallTimeoutError)):
        protected_call(breaker, calls, idempotent=True)

    assert calls.tries == 2
    assert time.monotonic() - started < 5


def test_a_fallback_answers_for_the_last_try_only_when_there_is_one():
    breaker = get_breaker("r", fallback=lambda: "yesterday's")

    assert protected_call(breaker, Calls(ConnectionError()), idempotent=True) == (
        "yesterday's"
    )


@pytest.mark.parametrize(
    ("outcome", "failed"),
    [
        ("an answer", False),
        (ConnectionError(), True),
        (TypeError(), True),
        (ServiceFailedError("r", "x"), True),
        (UnreadableAnswerError("r", "x", 200), True),
        (MisuseError(), False),
        (NotConfiguredError("X"), False),
        (SignatureError(), False),
    ],
)
def test_what_speaks_against_a_service(outcome, failed):
    assert is_failure(outcome) is failed


def test_errors_say_names_and_numbers():
    assert str(ServiceFailedError("r", "APIError 500", 500)) == "r: APIError 500"
    throttled = ServiceThrottledError("r", "RateLimitError 429", 429, 7.0)
    assert str(throttled) == "r: RateLimitError 429, try in 7 s"
    assert str(NotConfiguredError("X_KEY")) == "X_KEY is not set"


def test_the_log_of_a_repetition_holds_no_message(caplog):
    calls = Calls(ConnectionError("secret"))

    with caplog.at_level(logging.INFO):
        protected_call(get_breaker("r"), calls, idempotent=True)

    assert "r: ConnectionError, once more in" in caplog.text
    assert "secret" not in caplog.text
