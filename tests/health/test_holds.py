from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from health.errors import HoldRefusedError
from health.instances import Heartbeat, beat, instance_name, withdraw
from health.models import Instance
from health.processes import identify
from health.services import hold, release
from ledger.models import Artifact

pytestmark = pytest.mark.django_db(transaction=True)
SOON = timedelta(hours=1)


def make_instance(name: str = "web-1", **changes) -> Instance:
    now = timezone.now()
    row = {"role": "web", "boot_id": "1-1", "started_at": now, "seen_at": now}
    return Instance.objects.create(name=name, **(row | changes))


def drain(instance: Instance, **changes) -> Instance:
    asked = {
        "kind": "drain",
        "reason": "pool is saturated",
        "until": timezone.now() + SOON,
        "actor": "user:7",
    }
    return hold(instance=instance, **(asked | changes))


def test_a_hold_and_its_artifact_are_made_together():
    held = drain(make_instance())

    artifact = Artifact.objects.get()
    assert (held.hold, held.hold_by) == ("drain", "user:7")
    assert (artifact.type, artifact.subject) == ("hold", "instance:web-1")
    assert artifact.actor == "user:7"
    assert artifact.details["reason"] == "pool is saturated"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"kind": "stop"}, "hold"),
        ({"kind": ""}, "hold"),
        ({"reason": "abcd"}, "reason"),
        ({"reason": "    a    "}, "reason"),
        ({"reason": "x" * 201}, "reason"),
        ({"reason": "two\nlines"}, "reason"),
        ({"until": None}, "until"),
        ({"until": timezone.now() - SOON}, "until"),
        ({"until": timezone.now() + timedelta(hours=9)}, "until"),
    ],
)
def test_a_hold_that_may_not_be_names_its_field(changes, field):
    with pytest.raises(HoldRefusedError) as refused:
        drain(make_instance(), **changes)

    assert refused.value.field == field
    assert not Artifact.objects.exists()


def test_who_may_hold_without_end_may():
    assert drain(make_instance(), until=None, endless=True).hold_until is None


def test_a_release_is_recorded_once():
    instance = drain(make_instance())

    freed = release(instance=instance, reason="done", actor="user:8")
    release(instance=instance, reason="done", actor="user:8")

    assert freed.hold == ""
    assert Artifact.objects.filter(type="hold").count() == 2


def test_an_instance_reads_its_own_hold_with_its_heartbeat():
    beat(Heartbeat("web", identify()))
    drain(Instance.objects.get(pk=instance_name("web")))

    read = beat(Heartbeat("web", identify()))

    assert read is not None
    assert (read.kind, read.by) == ("drain", "user:7")


def test_a_hold_ends_by_itself():
    beat(Heartbeat("web", identify()))
    past = timezone.now() - timedelta(seconds=1)
    Instance.objects.update(hold="drain", hold_until=past, hold_reason="over by now")

    read = beat(Heartbeat("web", identify()))

    assert read is None
    assert Instance.objects.get().hold == ""


def test_a_goodbye_takes_the_row_away_unless_it_is_held():
    beat(Heartbeat("web", identify()))
    beat(Heartbeat("worker", identify()))
    drain(Instance.objects.get(pk=instance_name("web")))

    withdraw("web")
    withdraw("worker")

    assert [row.role for row in Instance.objects.all()] == ["web"]


def test_the_reads_have_names():
    now = timezone.now()
    make_instance("late", seen_at=now - timedelta(minutes=1))
    make_instance("old", seen_at=now - timedelta(days=2))
    make_instance("held", hold="observe", hold_until=now + SOON)
    make_instance("lapsed", hold="drain", hold_until=now - SOON)

    def names(rows):
        return {row.name for row in rows}

    assert names(Instance.objects.unseen(now, seconds=30)) == {"late", "old"}
    assert names(Instance.objects.vanished(now)) == {"old"}
    assert names(Instance.objects.held(now)) == {"held"}
    assert names(Instance.objects.lapsed(now)) == {"lapsed"}


def test_the_command_holds_and_releases(capsys):
    make_instance()

    call_command("hold", "web-1", "observe", "--reason", "reading the heap")
    held = Instance.objects.get()
    call_command("hold", "web-1", "release")

    assert held.hold == "observe"
    assert Instance.objects.get().hold == ""
    assert "web-1 is free" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["web-9", "drain", "--reason", "enough"], "known are: web-1"),
        (["web-1", "drain"], "reason: must have 5 to 200"),
        (["web-1", "drain", "--reason", "enough", "--minutes", "-1"], "until:"),
    ],
)
def test_the_command_names_what_is_wrong(arguments, said):
    make_instance()

    with pytest.raises(CommandError, match=said):
        call_command("hold", *arguments)
