"""The ledger in the console: read only, bounded, and honest about each state."""

import json

import pytest
from django.contrib.messages import get_messages
from django.test import Client

from ledger import services, upkeep
from ledger.models import Artifact
from ledger.verify import verify_export
from tests.ledger.conftest import make_user
from tests.ledger.ledgers import (
    artifact_at,
    forget_after,
    guards_down,
    make_ledger,
    rewrite,
)

LIST = "/admin/ledger/artifact/"


def page_of(sequence: int) -> str:
    return f"{LIST}{artifact_at(sequence)}/change/"


def rows(response) -> list[str]:
    return [row.details["number"] for row in response.context["cl"].result_list]


def test_the_list_is_within_its_query_budget(console, django_assert_max_num_queries):
    make_ledger(300)
    console.get(LIST)

    with django_assert_max_num_queries(5):
        response = console.get(LIST)

    assert response.status_code == 200
    assert rows(response) == list(range(299, 249, -1))


def test_a_page_is_within_its_query_budget(console, django_assert_max_num_queries):
    make_ledger(700)

    with django_assert_max_num_queries(8):
        response = console.get(page_of(300))

    assert response.context["proved"] is True


@pytest.mark.parametrize(
    ("term", "found"),
    [
        ("#190", [190]),
        ("190", [190]),
        ("1,0", [10]),
        ("process:web-1/42", [42]),
        ("#999999999999999999", []),
        ("99999999999999999999999999", []),
        ("process:web-1", []),
    ],
)
def test_a_search_is_routed_by_its_shape(console, term, found):
    make_ledger(300)

    assert rows(console.get(LIST, {"q": term})) == found


@pytest.mark.parametrize("length", [8, 9, 63, 64])
def test_a_hash_is_found_by_its_first_digits(console, length):
    make_ledger(300)
    digits = Artifact.objects.get(pk=artifact_at(7)).hash_hex[:length]

    assert rows(console.get(LIST, {"q": digits.upper()})) == [7]


def test_filters_are_declared_choices(console):
    make_ledger(3)
    services.record(type="degrade", source="readiness", subject="check:db", number=9)

    assert rows(console.get(LIST, {"type": "degrade"})) == [9]
    assert rows(console.get(LIST, {"source": "watchdog"})) == [2, 1, 0]
    assert rows(console.get(LIST, {"node": "elsewhere"})) == []
    assert rows(console.get(LIST, {"within": "1h"})) == [9, 2, 1, 0]


def test_each_state_is_told(console, settings):
    make_ledger(2)
    settings.ANCHORS_FILE.unlink()
    settings.ANCHORS_FILE.mkdir()  # nothing can be anchored from here on
    make_ledger(2)
    services.record(type="restart", source="watchdog", number=0)
    with guards_down():
        rewrite(0, '"type":"restart"', '"type":"recover"')

    text = console.get(LIST).content.decode()

    badges = ["MISMATCH", "anchored", "sequenced", "pending"]
    cells = text.split("<tbody>")[1]
    assert [cells.count(word) for word in badges] == [1, 1, 2, 1]


def test_the_header_tells_how_the_ledger_stands(console):
    make_ledger(300)
    before = console.get(LIST).content.decode()
    upkeep.verify_ledger(full=True)
    after = console.get(LIST).content.decode()

    assert "Not verified yet" in before
    assert "Whole at the last verify" in after
    assert "unsigned, origin fortheweebs/0" in after


def test_a_broken_ledger_is_said_first(console):
    make_ledger(300, steps=3)
    forget_after(200)
    upkeep.verify_ledger(full=True)

    text = console.get(LIST).content.decode()

    assert "Broken at the last verify" in text
    assert "Rolled back at #200" in text


def test_the_page_of_a_pending_artifact_has_no_proof_yet(console):
    pk = services.record(type="restart", source="watchdog").pk

    text = console.get(f"{LIST}{pk}/change/").content.decode()

    assert "No proof yet." in text


def test_the_page_shows_the_bytes_and_the_way_to_the_root(console):
    make_ledger(300)
    artifact = Artifact.objects.get(pk=artifact_at(5))

    response = console.get(page_of(5))

    text = response.content.decode()
    assert artifact.hash_hex in text
    assert json.dumps(artifact.details["number"]) in text
    steps = response.context["steps"]
    assert steps[-1].both == response.context["root"]
    assert (steps[0].side, steps[0].first, steps[0].last) == ("left", 4, 4)


def test_a_sequence_leads_to_its_page(console):
    make_ledger(3)

    assert console.get(f"{LIST}sequence/1/").headers["Location"] == page_of(1)
    assert console.get(f"{LIST}sequence/3/").status_code == 404
    assert console.get(f"{LIST}sequence/99999999999999999999/").status_code == 404


def test_the_export_of_the_console_is_whole(console):
    make_ledger(300)

    response = console.get(f"{LIST}export/")

    lines = b"".join(response.streaming_content).splitlines(keepends=True)
    assert verify_export(iter(lines)).ok


@pytest.mark.parametrize("act", ["add/", "{}/delete/", "{}/change/"])
def test_nobody_writes_in_the_ledger(console, act):
    make_ledger(3)

    response = console.post(LIST + act.format(artifact_at(1)), {"type": "recover"})

    assert response.status_code in {200, 403}
    assert Artifact.objects.get(pk=artifact_at(1)).type == "restart"
    assert Artifact.objects.count() == 3


def test_a_verification_is_queued_by_those_who_may(db):
    client = Client()
    client.force_login(make_user("viewer"))
    refused = client.post(f"{LIST}verify/")
    client.force_login(make_user("operator"))

    queued = client.post(f"{LIST}verify/")

    assert refused.status_code == 403
    assert queued.headers["Location"] == LIST
    (message,) = get_messages(queued.wsgi_request)
    assert str(message) == "A full verification is queued."
    assert client.get(f"{LIST}verify/").status_code == 405
