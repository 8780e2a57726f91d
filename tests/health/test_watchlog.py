import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from health.httprule import HOURLY, HttpRule, Line
from health.watchlog import WatchLog


def run(strikes: int, *answers: tuple[bool, float]) -> list[str]:
    rule, said = HttpRule(strikes), []
    for alive, at in answers:
        rule, line = rule.next(alive=alive, at=at)
        said.append(line.value)
    return said


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([True, True, True], ["check", "", ""]),
        ([False, False, False, False], ["failure", "failure", "failure", ""]),
        ([True, False, True, True], ["check", "failure", "recover", ""]),
    ],
)
def test_a_line_is_written_on_change(answers, said):
    assert run(3, *[(alive, 30.0 * n) for n, alive in enumerate(answers)]) == said


def test_a_quiet_hour_is_one_line():
    assert run(3, (True, 0), (True, HOURLY - 1), (True, HOURLY)) == [
        "check",
        "",
        "check",
    ]


@given(st.lists(st.booleans(), max_size=30), st.integers(1, 5))
def test_it_is_out_exactly_after_so_many_failures_in_a_row(answers, strikes):
    rule = HttpRule(strikes)
    for number, alive in enumerate(answers):
        rule, _ = rule.next(alive=alive, at=float(number))

    row = 0
    for alive in answers:
        row = 0 if alive else row + 1
    assert rule.is_out is (row >= strikes)
    assert Line(rule.next(alive=True, at=99.0)[1]) is not Line.FAILURE


def test_each_line_has_the_hash_of_its_canonical_form(tmp_path):
    log = WatchLog(tmp_path / "logs" / "watchdog.log")
    log.write("check", status=200, strikes=0)
    log.write("failure", status=0, strikes=1)

    lines = (tmp_path / "logs" / "watchdog.log").read_text().splitlines()

    assert [json.loads(line)["type"] for line in lines] == ["check", "failure"]
    for line in lines:
        body = json.loads(line)
        digest = body.pop("hash")
        canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
        assert hashlib.sha256(canonical.encode()).hexdigest() == digest
        assert set(body) == {"timestamp", "type", "details"}


def test_the_running_watchdog_keeps_its_log(site):
    lines = (site.data / "logs" / "watchdog.log").read_text().splitlines()

    assert json.loads(lines[0])["type"] in {"check", "failure"}
