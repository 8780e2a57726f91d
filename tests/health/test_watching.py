"""What the watchdog keeps, reads and leaves alone besides its signals."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta

import pytest
from django.core.management import CommandError
from django.utils import timezone

from health import dumps
from health.acting import load_spending, save_spending, spending_file
from health.budget import Spending
from health.heartbeats import Heartbeats, load_holds, save_holds
from health.instances import instance_name, read_holds
from health.judge import Limits
from health.management.commands.watchdog import pick, read_limits
from health.models import Instance
from health.processes import Identity, identify
from health.slots import Role
from health.snapshot import Hold
from tests.health.test_acting import artifacts, flags
from tests.health.test_acting_celery import CELERY, WORKER, slot_of
from tests.server import wait_for

SOON = timedelta(minutes=5)


@pytest.fixture(autouse=True)
def run_dir(settings, tmp_path):
    settings.RUN_DIR = tmp_path / "run"
    settings.RUN_DIR.mkdir()
    return settings.RUN_DIR


# -- holds -----------------------------------------------------------------------------
def make_instance(role: str, **changes) -> Instance:
    now = timezone.now()
    row = {"role": role, "boot_id": "1-1", "started_at": now, "seen_at": now}
    return Instance.objects.create(name=instance_name(role), **(row | changes))


@pytest.mark.django_db(transaction=True)
def test_the_holds_of_this_node_are_read_by_role():
    now = timezone.now()
    make_instance("web")
    make_instance("worker", hold="observe", hold_until=now + SOON)
    make_instance("beat", hold="drain", hold_until=now - SOON)
    Instance.objects.create(
        name="other-watchdog",
        role="watchdog",
        boot_id="1-1",
        started_at=now,
        seen_at=now,
        hold="observe",
    )

    found = read_holds(("web", "worker", "beat", "watchdog"))

    assert {role: hold.kind for role, hold in found.items()} == {"worker": "observe"}


def test_holds_outlive_the_watchdog_and_end_by_themselves():
    ends = {"web": time.time() + 60, "beat": time.time() - 1, "worker": None}
    save_holds(
        {role: Hold("observe", "reading", "user:7", end) for role, end in ends.items()}
    )

    after = Heartbeats(own_role="", hold=None)

    assert after.holds() == {"web": "observe", "worker": "observe"}


@pytest.mark.parametrize("text", ["", "[]", "{", '{"web": 1}', '{"web": [1, 2]}'])
def test_holds_that_cannot_be_read_are_none(run_dir, text):
    (run_dir / "holds.json").write_text(text)

    assert load_holds() == {}


def test_a_frozen_worker_held_in_observe_is_left_alone(own_site):
    site = own_site()
    held = {"web": ["observe", "reading its heap", "user:7", None]}
    (site.data / "run").mkdir(exist_ok=True)
    # As a watchdog before left it: the database is asked every 10 s only.
    (site.data / "run" / "holds.json").write_text(json.dumps(held))
    hold_in_database(site)
    site.start_watchdog(*flags())
    site.start_web()
    victim, _ = site.children("web")

    os.kill(victim, signal.SIGSTOP)

    (refusal,) = wait_for(lambda: artifacts(site, "refused"), 8, "the refusal")
    assert refusal["details"]["refused"] == "observe_only"
    assert refusal["details"]["reason"] == "held in observe"
    assert refusal["details"]["rule"] == "worker_frozen"
    assert victim in site.children("web")
    assert artifacts(site, "intent") == []


def hold_in_database(site) -> None:
    site.manage(
        "shell",
        "-c",
        "from django.utils.timezone import now; from health.models import Instance;"
        "from health.instances import instance_name;"
        "Instance.objects.create(name=instance_name('web'), role='web', boot_id='1-1',"
        " started_at=now(), seen_at=now(), hold='observe', hold_reason='reading',"
        " hold_by='user:7')",
    )


# -- budget ----------------------------------------------------------------------------
def test_what_was_spent_outlives_the_watchdog():
    spent = {"web": Spending((1, 2, 3), hold_until_ns=9, holds=2, deaf_ns=7)}

    save_spending(spent)

    assert load_spending() == spent


def test_what_was_spent_before_the_machine_began_is_nothing():
    save_spending({"web": Spending((1,))})
    body = json.loads(spending_file().read_text())
    spending_file().write_text(json.dumps(body | {"boot": "another"}))

    assert load_spending() == {}


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"boot": 1}', "\0"])
def test_a_budget_that_cannot_be_read_is_a_new_one(text):
    spending_file().write_text(text)

    assert load_spending() == {}


# -- limits ----------------------------------------------------------------------------
def test_a_limit_is_changed_by_name():
    limits = read_limits(["worker_frozen=3", "pause=1.5"])

    assert pick(Limits, limits) == Limits(worker_frozen=3.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("frozen=3", "frozen is not one of"),
        ("late=soon", "'soon' is not 0 to 86400"),
        ("late=-1", "'-1' is not"),
        ("late=nan", "'nan' is not"),
        ("late", "'' is not"),
    ],
)
def test_a_wrong_limit_is_refused_with_what_there_is(text, words):
    with pytest.raises(CommandError, match=words):
        read_limits([text])


# -- dumps -----------------------------------------------------------------------------
DUMPING = """
import sys, time
import django
django.setup()
from health.dumps import register_dumps
def wait_here():
    print("here", flush=True)
    time.sleep(60)
register_dumps()
wait_here()
"""


@pytest.fixture
def dumping(run_dir):
    process = subprocess.Popen(
        [sys.executable, "-c", DUMPING],
        stdout=subprocess.PIPE,
        env={**os.environ, "DATA_DIR": str(run_dir.parent)},
    )
    assert process.stdout.readline() == b"here\n"
    yield process
    process.kill()
    process.communicate()


def test_a_process_says_where_it_stands_and_lives_on(dumping):
    who = identify(dumping.pid)

    os.kill(dumping.pid, dumps.ASK)
    dump = dumps.wait_for_dump(who, seconds=3)

    assert "in wait_here" in dump.first
    assert dumping.poll() is None
    assert dumps.can_dump(who)


def test_an_abort_leaves_a_traceback(dumping):
    who = identify(dumping.pid)

    os.kill(dumping.pid, signal.SIGABRT)

    assert dumping.wait(3) == -signal.SIGABRT
    assert "in wait_here" in dumps.read_dump(who).first


def test_only_who_has_a_file_is_asked():
    assert not dumps.can_dump(identify())


def test_a_dump_is_cut_and_names_no_home(run_dir):
    who = Identity(4711, 99)
    path = dumps.dump_file(who)
    path.parent.mkdir()
    line = '  File "/home/ada.lovelace/site/lib/shop/cart.py", line 3 in pay\n'
    path.write_text(line * 9000)

    dump = dumps.read_dump(who)

    assert path.stat().st_size == dumps.LONGEST_FILE
    assert "ada" not in dump.first
    assert 'File "lib/shop/cart.py", line 3 in pay' in dump.first
    assert len(dump.first) <= 2000


def test_dumps_of_the_dead_are_kept_only_if_they_say_something(run_dir):
    folder = run_dir / "dumps"
    folder.mkdir()
    alive = dumps.dump_file(identify())
    alive.touch()
    for number in range(30):
        text = "said" if number < 25 else ""
        (folder / f"{4_000_000 + number}-1.txt").write_text(text)

    dumps.sweep_dumps()

    left = set(folder.iterdir())
    assert alive in left
    assert len(left) == 1 + dumps.KEPT


# -- a dependency that is away ---------------------------------------------------------
def test_a_hung_broker_is_no_reason_to_kill_a_celery_main(own_site):
    site = own_site()
    site.start("worker", "worker", *CELERY, "worker", *WORKER)
    site.start_watchdog(*flags(main_frozen=3, broker_back=60))
    wait_for(lambda: slot_of(site, Role.POOL), 9, "the worker")

    site.stop_redis()
    began = time.monotonic()
    wait_for(lambda: time.monotonic() - began > 6, 7)

    assert site.parts["worker"].poll() is None
    assert artifacts(site, "intent") == []
