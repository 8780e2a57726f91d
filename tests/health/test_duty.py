"""A term of the lock's holder, step by step, with scripted dependencies."""

import json
import time

import pytest

from health.dependencies import Finding
from health.duty import Duty
from health.processes import identify
from health.slots import Role, Slot
from health.snapshot import Probe, State
from health.snapshots import load_snapshot
from ledger import spool
from ledger.models import Artifact
from tests.health.test_sampler import Scripted
from tests.health.test_slots import dead, make_slot_file  # noqa: F401 - a fixture
from tests.server import wait_for

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def run_dir(settings, tmp_path):
    settings.RUN_DIR = tmp_path / "run"
    settings.RUN_DIR.mkdir()
    return settings.RUN_DIR


class Term:
    """A duty whose dependencies pass or fail as the test says."""

    def __init__(self):
        self.passing = dict.fromkeys(("db", "cache", "queue"), True)
        self.duty = Duty(
            roles=frozenset({"web"}),
            period=0.02,
            timeout=1.0,
            dependencies=[self.make(name) for name in self.passing],
        )
        self.duty.sampler.start()

    def make(self, name: str) -> Scripted:
        dependency = Scripted(lambda: self.look(name))
        dependency.name = name
        return dependency

    def look(self, name: str) -> Finding:
        return Finding() if self.passing[name] else Finding(State.FAIL, "refused")

    def step_until(self, condition):
        def stepped():
            self.duty.step()
            return condition()

        return wait_for(stepped, 5)


@pytest.fixture
def term():
    one = Term()
    yield one
    one.duty.sampler.stop()


def state_of(name: str) -> State | None:
    snapshot = load_snapshot()
    check = snapshot.check(name) if snapshot else None
    return check.state if check else None


def told() -> list[tuple[str, str, str]]:
    spool.ship()
    rows = Artifact.objects.order_by("id").values_list("type", "source", "subject")
    return [tuple(row) for row in rows]


def test_an_outage_of_a_check_is_four_artifacts(term):
    term.step_until(lambda: state_of("cache") is State.PASS)
    before = told()

    term.passing["cache"] = False
    term.step_until(lambda: state_of("cache") is State.FAIL)
    term.passing["cache"] = True
    term.step_until(lambda: state_of("cache") is State.PASS)

    of_cache = [row for row in told() if row not in before]
    assert [row for row in of_cache if row[2] == "check:cache"] == [
        ("degrade", "readiness", "check:cache"),
        ("recover", "readiness", "check:cache"),
    ]


def test_a_quiet_term_writes_no_artifact_of_a_check(term):
    term.step_until(lambda: state_of("db") is State.PASS)

    for _ in range(20):
        term.duty.step()

    assert [row for row in told() if row[2].startswith("check:")] == []


def test_the_snapshot_says_since_when_a_probe_says_so(term):
    term.step_until(lambda: state_of("db") is State.PASS)

    probe = load_snapshot().probe(Probe.READY)

    # No database of scripted checks knows its migrations.
    assert probe.state is State.FAIL
    assert "migrations" in probe.error


def test_live_is_not_judged_before_a_worker_was_seen(term, run_dir):
    term.step_until(lambda: state_of("db") is State.PASS)
    before = load_snapshot().probe(Probe.LIVE)

    slot = Slot(run_dir, Role.WEB)
    term.duty._written_ns = 0
    term.step_until(lambda: load_snapshot().probe(Probe.LIVE))
    slot.close()

    assert before is None


def test_a_dead_process_is_told_of_once(term, run_dir, dead):  # noqa: F811
    make_slot_file(run_dir, dead)

    term.step_until(lambda: not list(run_dir.glob("web-*.slot")))
    for _ in range(5):
        term.duty.step()

    rows = [row for row in told() if row[0] == "restart"]
    assert len(rows) == 1
    assert rows[0][2].endswith(f"/{dead.pid}")


def test_the_next_holder_carries_on_and_tells_nothing_twice(term):
    term.passing["db"] = False
    term.step_until(lambda: state_of("db") is State.FAIL)
    since = load_snapshot().check("db").since
    before = told()

    heir = Term()
    heir.passing["db"] = False
    heir.step_until(lambda: heir.duty._written_ns)
    heir.duty.sampler.stop()

    assert load_snapshot().check("db").since == since
    assert told() == before


def test_a_step_that_fails_ends_no_term(term, settings, tmp_path):
    term.step_until(lambda: state_of("db") is State.PASS)
    (tmp_path / "file").write_text("in the way")

    settings.RUN_DIR = tmp_path / "file"
    term.duty._written_ns = 0
    term.duty._try_step()
    error = term.duty._error
    settings.RUN_DIR = tmp_path / "run"
    term.duty._try_step()

    assert error.startswith("NotADirectoryError")
    assert term.duty._error == ""


def test_the_holder_writes_its_name(term):
    term.step_until(lambda: state_of("db") is State.PASS)

    assert load_snapshot().holder == identify().pid


def test_a_broken_snapshot_of_the_holder_before_is_started_over(run_dir):
    (run_dir / "snapshot.json").write_text('{"format": 1, "che')

    term = Term()
    term.step_until(lambda: state_of("db") is State.PASS)
    term.duty.sampler.stop()

    assert json.loads((run_dir / "snapshot.json").read_text())["format"] == 1


def test_a_worker_without_room_for_its_slot_starts_all_the_same(tmp_path):
    slot = Slot(tmp_path / "missing", Role.WEB)

    slot.tick(in_flight=1)

    assert slot.heartbeat_ns <= time.monotonic_ns()
