"""`manage.py breaker`: every act of the API, a sentence, an exit code."""

from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from breakers.models import BreakerState
from ledger.models import Artifact
from tests.breakers.test_services import make_open

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("_alone")]


def run(capsys, *words: str) -> str:
    call_command("breaker", *words)
    return capsys.readouterr().out


def test_the_list_has_a_line_a_breaker(capsys):
    make_open("stripe", seconds=30)
    run(capsys, "disable", "openai", "--reason", "vendor outage", "--for", "15m")

    lines = run(capsys, "list").splitlines()

    assert [line.split()[0] for line in lines] == [
        *("coinbase", "openai", "stripe", "supabase")
    ]
    assert "DISABLED" in lines[1]
    assert "vendor outage" in lines[1]
    assert "5 failures in a row; a trial in" in lines[2]


def test_one_is_shown_whole(capsys):
    make_open("stripe", seconds=30)

    told = run(capsys, "show", "stripe")

    assert {"OPEN", "ConnectError", "auto"} <= set(told.split())


@pytest.mark.parametrize(
    ("verb", "mode"),
    [
        ("force_open", "forced_open"),
        ("disable", "disabled"),
        ("metrics_only", "metrics_only"),
    ],
)
def test_each_override_is_set_and_ends(capsys, verb, mode):
    said = run(capsys, verb, "openai", "--for", "8h", "--reason", "vendor outage")

    row = BreakerState.objects.get()
    left = row.override_until - timezone.now()
    assert row.override == mode
    assert timedelta(hours=7.9) < left < timedelta(hours=8.1)
    assert said.startswith(f"openai is {mode.upper()} until ")


def test_auto_ends_it_and_reset_closes(capsys):
    make_open("openai")
    run(capsys, "force_open", "openai", "--no-end", "--reason", "vendor outage")

    held = run(capsys, "reset", "openai", "--reason", "key was renewed")
    said = run(capsys, "auto", "openai", "--reason", "they are back")

    assert held == "openai is CLOSED, held FORCED_OPEN\n"
    assert said == "openai is CLOSED\n"
    assert [row.type for row in Artifact.objects.order_by("pk")] == [
        *("override", "breaker_reset", "override")
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["show", "nobody"], "no breaker 'nobody'; known: coinbase, openai"),
        (["reset", "nobody", "--reason", "enough"], "no breaker"),
        (["auto", "\0", "--reason", "enough"], "no breaker"),
        (["reset", "openai", "--reason", "no"], "--reason: must have 5 to 200"),
        (["reset", "openai"], "--reason"),
        (["disable", "openai", "--reason", "enough", "--for", "soon"], "15m, 1h or 2d"),
        (["disable", "openai", "--reason", "enough", "--for", "400d"], "365 days"),
        (["disable", "openai", "--reason", "enough", "--for", "0m"], "15m, 1h or 2d"),
        (["explode", "openai"], "explode"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(words, said):
    with pytest.raises(CommandError, match=said):
        call_command("breaker", *words)

    assert not Artifact.objects.exists()
