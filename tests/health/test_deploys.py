"""What was deployed, told once."""

import threading

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from health.services import mark_deploy
from ledger.models import Artifact

pytestmark = pytest.mark.django_db(transaction=True)


def told() -> list[tuple[str, str]]:
    rows = Artifact.objects.filter(type="deploy").order_by("id")
    return [(row.subject, row.details["before"]) for row in rows]


def test_a_deploy_is_recorded_with_its_reason_and_node(settings, capsys):
    settings.NODE_NAME = "web-1"

    call_command("deploy_marker", "--version", "1.2.3", "--reason", "fixes the cart")

    artifact = Artifact.objects.get()
    assert (artifact.type, artifact.source) == ("deploy", "operator")
    assert (artifact.subject, artifact.node) == ("version:1.2.3", "web-1")
    assert artifact.details == {"before": "", "reason": "fixes the cart"}
    assert capsys.readouterr().out == "1.2.3 on web-1 is recorded\n"


def test_the_same_deploy_is_told_once_a_node(settings, capsys):
    for node in ("web-1", "web-1", "web-2"):
        settings.NODE_NAME = node
        call_command("deploy_marker", "--version", "1.2.3")

    assert told() == [("version:1.2.3", "")] * 2
    assert "1.2.3 on web-1 was recorded before" in capsys.readouterr().out


def test_a_rollback_is_told_too():
    for version in ("1.2.3", "1.2.4", "1.2.3", "1.2.3"):
        mark_deploy(version=version)

    assert told() == [
        ("version:1.2.3", ""),
        ("version:1.2.4", "1.2.3"),
        ("version:1.2.3", "1.2.4"),
    ]


def test_two_at_once_are_told_once():
    def mark() -> None:
        mark_deploy(version="1.2.3")
        connection.close()

    threads = [threading.Thread(target=mark) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(9)

    assert told() == [("version:1.2.3", "")]


def test_without_a_version_it_is_the_one_that_runs(settings):
    call_command("deploy_marker")

    assert told() == [(f"version:{settings.VERSION}", "")]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--version", "1 2"], "version: may hold 60 letters"),
        (["--version", ""], "version: may hold 60 letters"),
        (["--version", "v" * 61], "version: may hold 60 letters"),
        (["--version", "1", "--reason", "a\nb"], "reason: must be one line"),
        (["--version", "1", "--reason", "a" * 201], "reason: must be one line"),
    ],
)
def test_what_cannot_be_a_deploy_is_refused_with_a_sentence(options, sentence):
    with pytest.raises(CommandError, match=sentence):
        call_command("deploy_marker", *options)

    assert told() == []
