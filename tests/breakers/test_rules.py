"""When a circuit trips and when it holds, on a clock that goes when told."""

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from urllib.error import HTTPError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakers import CircuitOpenError, CircuitState
from breakers.throttling import UNNAMED, read_retry_after, read_status
from tests.breakers.guards import Clock, fine, make_breaker, make_circuit

pytestmark = pytest.mark.usefixtures("_alone")


@pytest.fixture
def clock():
    return Clock()


def play(circuit, outcomes):
    """Let calls succeed, fail or be slow (S, F, L) and return what tripped it."""
    for outcome in outcomes:
        permit, _ = circuit.admit()
        if outcome == "F":
            circuit.failed(permit, "E")
        else:
            circuit.succeeded(permit, slow=outcome == "L")
        if circuit.state is not CircuitState.CLOSED:
            return circuit.reason
    return ""


# -- In a row ----------------------------------------------------------------------
@pytest.mark.parametrize(
    ("outcomes", "reason"),
    [
        ("FFFFF", "5 failures in a row"),
        ("FFFF", ""),
        ("FFFFSFFFF", ""),
        ("SSSFFFFF", "5 failures in a row"),
        ("FFFFSFFFFSFFFFF", "5 failures in a row"),
    ],
)
def test_five_in_a_row_trip_and_a_success_begins_anew(clock, outcomes, reason):
    circuit = make_circuit(clock, failure_rate_threshold=None)

    assert play(circuit, outcomes) == reason


def test_a_run_is_counted_however_long_it_takes(clock):
    circuit = make_circuit(clock, window=60.0)

    for _ in range(4):
        assert play(circuit, "F") == ""
        clock.go(3600)

    assert play(circuit, "F") == "5 failures in a row"


def test_a_run_of_timeouts_is_called_so(clock):
    circuit = make_circuit(clock)
    permit, _ = circuit.admit()

    moves = [circuit.failed(permit, "E", timeout=True) for _ in range(5)]

    assert moves[-1].reason == "5 timeouts in a row"
    assert moves[-1].evidence == {
        "failures": 5,
        "calls": 5,
        "run": 5,
        "first_error": "E",
        "open_for_s": 60.0,
    }


# -- Rate --------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("outcomes", "reason"),
    [
        ("FS" * 9 + "F", ""),  # 19 calls
        ("FS" * 9 + "SF", "50 % of 20 calls failed"),
        ("FSS" * 20, ""),
        ("S" * 19 + "F" * 4, ""),
        ("S" * 20 + "FS" * 30 + "F", ""),  # 31 of 81
        ("FFFFS" * 5, "80 % of 21 calls failed"),
    ],
)
def test_half_of_twenty_calls_in_the_window_trip(clock, outcomes, reason):
    circuit = make_circuit(clock)

    assert play(circuit, outcomes) == reason


def test_without_a_rate_only_a_run_trips(clock):
    circuit = make_circuit(clock, failure_rate_threshold=None)

    assert play(circuit, "FFFFS" * 50) == ""


def test_a_rate_of_one_wants_every_call_to_fail(clock):
    circuit = make_circuit(
        clock, failure_rate_threshold=1.0, failure_threshold=100, minimum_calls=10
    )

    assert play(circuit, "S" + "F" * 30) == ""
    clock.go(61)
    assert play(circuit, "F" * 30) == "100 % of 10 calls failed"


def test_failures_older_than_the_window_are_forgotten(clock):
    circuit = make_circuit(clock, window=60.0)
    play(circuit, "FS" * 9)
    circuit.sample()  # as the pulse does once a second
    clock.go(61)

    assert play(circuit, "SF") == ""
    assert circuit.recent() == (2, 1)


def test_old_successes_do_not_hide_new_failures(clock):
    circuit = make_circuit(clock, window=60.0, failure_threshold=100)
    for _ in range(120):
        play(circuit, "S" * 10)
        circuit.sample()
        clock.go(1)

    clock.go(60)
    circuit.sample()

    assert play(circuit, "F" * 20) == "100 % of 20 calls failed"


@given(
    steps=st.lists(
        st.tuples(st.sampled_from("SF"), st.floats(0, 5)), min_size=1, max_size=120
    )
)
def test_the_window_is_exact_to_its_grain(steps):
    clock = Clock()
    circuit = make_circuit(
        clock, window=64.0, failure_threshold=10**6, failure_rate_threshold=None
    )
    happened = []
    for outcome, pause in steps:
        play(circuit, outcome)
        happened.append((clock.now, outcome))
        circuit.sample()
        clock.go(pause)

    calls, failures = circuit.recent()

    # A sample stands for what came within the second after it: nothing of the window
    # is left out, and nothing counted that is older than a window, a grain and a pause.
    young = [outcome for at, outcome in happened if at > clock.now - 64.0]
    slack = 64.0 + 1.0 + 5.0
    known = [outcome for at, outcome in happened if at > clock.now - slack - 1e-6]
    assert len(young) <= calls <= len(known)
    assert young.count("F") <= failures <= known.count("F")


# -- Slow calls --------------------------------------------------------------------
def test_half_of_twenty_calls_slow_trip(clock):
    circuit = make_circuit(clock, slow_call_duration=1.0)

    assert play(circuit, "SL" * 9 + "S") == ""
    assert play(circuit, "L") == "50 % of 20 calls were slow"


def test_a_slow_trial_opens_again(clock):
    circuit = make_circuit(clock, failure_threshold=1, slow_call_duration=1.0)
    play(circuit, "F")
    clock.now = circuit.open_until
    trial, _ = circuit.admit()

    moved = circuit.succeeded(trial, slow=True)

    assert moved.new is CircuitState.OPEN
    assert moved.reason == "trial failed: slow call"


def test_calls_over_the_duration_are_slow_in_a_breaker():
    breaker = make_breaker(slow_call_duration=0.001, minimum_calls=3, timeout=None)

    for _ in range(3):
        breaker.execute(time.sleep, 0.005)

    assert breaker.state is CircuitState.OPEN
    assert breaker.circuit.reason == "100 % of 3 calls were slow"
    assert breaker.counts()["success"] == 3


# -- Throttled ---------------------------------------------------------------------
class AnswerError(Exception):
    """An error as requests and httpx spell it."""

    def __init__(self, status, headers=None):
        self.response = SimpleNamespace(status_code=status, headers=headers or {})


def http_date(seconds):
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


def throttle(breaker, error):
    def call():
        raise error

    with pytest.raises(type(error)):
        breaker.execute(call)


@pytest.mark.parametrize(
    ("status", "headers", "least", "most"),
    [
        (429, {"Retry-After": "30"}, 30, 30),
        (429, {"retry-after": "0.5"}, 0.5, 0.5),
        (429, {"Retry-After": "0"}, 0, 0),
        (429, {"Retry-After": "-3"}, 0, 0),
        (429, {}, UNNAMED, UNNAMED),
        (429, {"Retry-After": "soon"}, UNNAMED, UNNAMED),
        (429, {"Retry-After": "nan"}, UNNAMED, UNNAMED),
        (429, {"Retry-After": "inf"}, UNNAMED, UNNAMED),
        (503, {"Retry-After": "7"}, 7, 7),
    ],
    ids=str,
)
def test_an_answer_may_say_how_long_to_wait(status, headers, least, most):
    found = read_retry_after(AnswerError(status, headers))

    assert least <= found <= most


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("zone", ["GMT", "-0000", ""])
def test_an_http_date_is_read_as_utc_in_any_time_zone(status, zone, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    date = http_date(90).replace("GMT", zone).strip()

    try:
        found = read_retry_after(AnswerError(status, {"Retry-After": date}))
    finally:
        monkeypatch.undo()
        time.tzset()

    assert 85 < found <= 90


def test_a_date_that_is_past_means_now():
    past = {"Retry-After": "Sun, 06 Nov 1994 08:49:37 GMT"}

    assert read_retry_after(AnswerError(429, past)) == 0.0


@pytest.mark.parametrize(
    "error",
    [
        AnswerError(503),
        AnswerError(503, {"Retry-After": "soon"}),
        AnswerError(500, {"Retry-After": "30"}),
        AnswerError(None),
        ConnectionError("429"),
    ],
    ids=repr,
)
def test_other_errors_are_no_throttling(error):
    assert read_retry_after(error) is None


@given(st.text() | st.floats().map(str) | st.integers().map(str))
def test_no_header_breaks_the_reading(value):
    found = read_retry_after(AnswerError(429, {"Retry-After": value}))

    assert 0 <= found < 1e12


class StripeError(Exception):
    http_status = 429
    headers = {"Retry-After": "4"}


class OpenAIError(Exception):
    status_code = 429


class CodedError(Exception):
    code = 503


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (StripeError(), 429),
        (OpenAIError(), 429),
        (CodedError(), 503),
        (HTTPError("http://a", 502, "", {}, None), 502),
        (AnswerError(418), 418),
        (ValueError(), None),
    ],
    ids=repr,
)
def test_the_status_is_read_as_each_client_spells_it(error, status):
    assert read_status(error) == status


def test_throttling_holds_without_counting_a_failure():
    breaker = make_breaker()

    throttle(breaker, AnswerError(429, {"Retry-After": "30"}))

    assert breaker.state is CircuitState.OPEN
    assert breaker.circuit.reason == "throttled"
    with pytest.raises(CircuitOpenError) as refused:
        breaker.execute(fine)
    assert 29 < refused.value.retry_after <= 30
    assert breaker.counts()["failure"] == 0
    assert breaker.counts()["throttled"] == 1


def test_one_good_trial_ends_a_throttling():
    breaker = make_breaker(success_threshold=3)
    throttle(breaker, AnswerError(429, {"Retry-After": "0"}))

    breaker.execute(fine)

    assert breaker.state is CircuitState.CLOSED


def test_a_hold_is_at_most_ten_reset_timeouts():
    breaker = make_breaker(reset_timeout=2.0)

    throttle(breaker, AnswerError(503, {"Retry-After": "86400"}))

    with pytest.raises(CircuitOpenError) as refused:
        breaker.execute(fine)
    assert 19 < refused.value.retry_after <= 20


@pytest.mark.parametrize("metered", ["metrics_only", "disabled"])
def test_nothing_is_held_while_an_operator_lets_all_pass(metered):
    breaker = make_breaker()
    breaker.override(metered)

    throttle(breaker, AnswerError(429))

    assert breaker.execute(fine) == "fine"


@pytest.mark.parametrize("answer", [float("nan"), -5, "soon", ..., None], ids=str)
def test_a_retry_after_that_answers_nonsense_masks_nothing(answer, caplog):
    breaker = make_breaker(retry_after=lambda error: answer)

    for _ in range(3):
        throttle(breaker, ConnectionError("down"))
        if breaker.state is CircuitState.OPEN:
            break

    assert breaker.state is CircuitState.OPEN


def test_a_retry_after_that_raises_is_logged_and_the_failure_counts(caplog):
    def retry_after(error):
        raise KeyError("nothing")

    breaker = make_breaker(retry_after=retry_after)

    throttle(breaker, ConnectionError("down"))

    assert "retry_after of breaker" in caplog.text
    assert breaker.counts()["failure"] == 1


class EvilError(Exception):
    """Its properties raise, as httpx's `request` does before there is one."""

    @property
    def response(self):
        raise RuntimeError("there is no response yet")

    status_code = response


def test_an_error_whose_properties_raise_is_still_the_one_to_be_seen():
    breaker = make_breaker()

    throttle(breaker, EvilError())

    assert breaker.counts()["failure"] == 1
    assert breaker.circuit.last_error == "EvilError"


def test_the_trip_names_types_and_statuses_but_no_message():
    breaker = make_breaker(failure_threshold=1)

    throttle(breaker, AnswerError(502))

    assert breaker.circuit.last_error == "AnswerError 502"
