import json
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from django.urls import path

from fortheweebs.celery import app
from fortheweebs.urls import urlpatterns as project_urls
from ledger import merkle, sequencer, services, tasks
from ledger.kinds import ArtifactType
from ledger.models import Artifact
from ledger.upkeep import verify_ledger
from ledger.verdict import read_note
from ledger.views import DocumentedArtifacts
from tests.ledger.ledgers import make_ledger

URL = "/api/ledger/artifacts"
DOCUMENTED = "/api/health/artifacts"

urlpatterns = [
    path("api/health/artifacts", DocumentedArtifacts.as_view()),
    *project_urls,
]
pytestmark = pytest.mark.urls(__name__)


def make_pending():
    return services.record(
        type="degrade", source="readiness", subject="check:db", at=datetime.now(UTC)
    )


# -- The documented route ----------------------------------------------------------
def test_the_documented_route_has_the_documented_shape(viewer):
    make_ledger(3)
    make_pending()

    body = viewer.get(DOCUMENTED).json()

    assert body["total"] == 4
    assert body["types"] == list(ArtifactType)
    first, last = body["artifacts"][0], body["artifacts"][-1]
    assert first | {"timestamp": "", "hash": "", "id": ""} == {
        "timestamp": "",
        "type": "restart",
        "source": "watchdog",
        "subject": "process:web-1/0",
        "actor": "",
        "details": {"number": 0},
        "hash": "",
        "sequence": 0,
        "id": "",
        "node": "test",
    }
    assert len(first["hash"]) == 64
    assert first["timestamp"].endswith("Z")
    assert (last["subject"], last["sequence"]) == ("check:db", None)


@pytest.mark.parametrize("limit", ["", "NaN", "0", "-5", "ten", "inf", "1e400"])
def test_a_limit_that_is_not_understood_counts_as_100(viewer, limit):
    make_ledger(101)

    body = viewer.get(DOCUMENTED, {"limit": limit}).json()

    assert len(body["artifacts"]) == 100
    assert body["artifacts"][-1]["details"] == {"number": 100}


def test_the_documented_route_filters_and_leaves_out_what_it_does_not_know(viewer):
    make_ledger(3)
    make_pending()

    query = {"type": "degrade", "limit": "2000", "until": "soon", "colour": "red"}
    body = viewer.get(DOCUMENTED, query).json()

    assert [row["type"] for row in body["artifacts"]] == ["degrade"]
    assert body["total"] == 1
    assert viewer.get(DOCUMENTED, {"type": "exp\0lode"}).json()["artifacts"] == []
    for odd in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-13-01"):
        assert viewer.get(DOCUMENTED, {"since": odd}).status_code == 200


def test_the_documented_route_goes_back_by_cursor(viewer):
    make_ledger(5)

    newest = viewer.get(DOCUMENTED, {"limit": 3}).json()
    older = viewer.get(DOCUMENTED, {"limit": 3, "cursor": newest["next"]}).json()

    numbers = [row["sequence"] for row in older["artifacts"] + newest["artifacts"]]
    assert numbers == [0, 1, 2, 3, 4]
    assert older["next"] is None


# -- Our own list ------------------------------------------------------------------
def test_pages_lead_through_all_artifacts_newest_first(viewer):
    make_ledger(10)
    make_pending()

    rows, url = [], f"{URL}?limit=4"
    while url:
        page = viewer.get(url).json()
        rows += page["artifacts"]
        url = page["next"]

    assert [row["sequence"] for row in rows] == [None, *range(9, -1, -1)]


def test_the_ledger_is_followed_by_sequence(viewer):
    make_ledger(10)
    make_pending()

    page = viewer.get(URL, {"after": 3, "limit": 4}).json()
    rest = viewer.get(page["next"]).json()

    assert [row["sequence"] for row in page["artifacts"]] == [4, 5, 6, 7]
    assert [row["sequence"] for row in rest["artifacts"]] == [8, 9]
    assert rest["next"] is None


def test_artifacts_are_found_by_type_source_subject_and_time(viewer):
    make_ledger(3)
    degraded = make_pending()
    later = (degraded.at + timedelta(seconds=1)).isoformat()

    def count(**query):
        return len(viewer.get(URL, query).json()["artifacts"])

    assert count(type="degrade") == count(source="readiness") == 1
    assert count(subject="process:web-1/2") == 1
    assert count(since=degraded.at.isoformat()) == 1
    assert count(until=degraded.at.isoformat()) == 3
    assert count(since=later) == 0


def test_an_unchanged_list_is_answered_with_304(viewer):
    make_ledger(2)
    etag = viewer.get(URL)["ETag"]

    unchanged = viewer.get(URL, headers={"If-None-Match": etag})
    make_pending()
    changed = viewer.get(URL, headers={"If-None-Match": etag})

    assert (unchanged.status_code, changed.status_code) == (304, 200)


@pytest.mark.parametrize(
    ("url", "field"),
    [
        (f"{URL}?colour=red", "colour"),
        (f"{URL}?limit=0", "limit"),
        (f"{URL}?limit=1001", "limit"),
        (f"{URL}?limit=ten", "limit"),
        (f"{URL}?type=explode", "type"),
        (f"{URL}?source=rumour", "source"),
        (f"{URL}?subject=" + "x" * 81, "subject"),
        (f"{URL}?subject=%00", "subject"),
        (f"{URL}?since=yesterday", "since"),
        (f"{URL}?until=0001-01-01T00:00:00%2B14:00", "until"),
        (f"{URL}?cursor=-1", "cursor"),
        (f"{URL}?cursor=9223372036854775808", "cursor"),
        (f"{URL}?after=1&cursor=1", "after"),
        (f"{URL}/0?x=1", "x"),
        (f"{URL}/0/proof?x=1", "x"),
        ("/api/ledger/checkpoint?x=1", "x"),
        ("/api/ledger/verify?x=1", "x"),
        ("/api/ledger/consistency", "from"),
        ("/api/ledger/consistency?from=-1", "from"),
        ("/api/ledger/consistency?from=3&to=2", "from"),
    ],
)
def test_a_wrong_parameter_is_refused_by_name(viewer, url, field):
    make_ledger(3)

    response = viewer.get(url)

    assert response.status_code == 400
    assert response["Content-Type"] == "application/problem+json"
    assert [error["field"] for error in response.json()["errors"]] == [field]


# -- Entries and proofs ------------------------------------------------------------
def test_an_entry_is_read_by_its_sequence_and_may_be_kept_for_ever(viewer):
    make_ledger(3)

    response = viewer.get(f"{URL}/1")

    assert response.json()["details"] == {"number": 1}
    assert "immutable" in response["Cache-Control"]
    assert response["ETag"] == f'"{response.json()["hash"]}"'


@pytest.mark.parametrize(
    "url",
    [
        f"{URL}/3",
        f"{URL}/99999999999999999999999",
        f"{URL}/3/proof",
        f"{URL}/99999999999999999999999/proof",
        "/api/ledger/consistency?from=1&to=4",
        "/api/ledger/consistency?from=4",
    ],
)
def test_what_the_tree_does_not_have_is_not_found(viewer, url):
    make_ledger(3)

    assert viewer.get(url).status_code == 404


@pytest.mark.parametrize("url", ["/api/ledger/checkpoint", f"{URL}/0/proof"])
def test_an_empty_ledger_has_no_checkpoint(viewer, url):
    assert viewer.get(url).status_code == 404


def test_a_proof_leads_from_the_entry_to_the_checkpoint(
    viewer, django_assert_max_num_queries
):
    make_ledger(700, steps=3)

    with django_assert_max_num_queries(6):
        proof = viewer.get(f"{URL}/300/proof").json()

    checkpoint = read_note(proof["checkpoint"])
    assert set(proof) == {"sequence", "size", "leafHash", "path", "checkpoint"}
    assert proof["leafHash"] == viewer.get(f"{URL}/300").json()["hash"]
    assert merkle.is_included(
        bytes.fromhex(proof["leafHash"]),
        proof["sequence"],
        proof["size"],
        [bytes.fromhex(digest) for digest in proof["path"]],
        checkpoint.root,
    )


def test_two_checkpoints_are_joined_by_a_consistency_proof(viewer):
    make_ledger(300)
    old = read_note(viewer.get("/api/ledger/checkpoint").content.decode())
    make_ledger(400)
    new = read_note(viewer.get("/api/ledger/checkpoint").content.decode())

    proof = viewer.get("/api/ledger/consistency", {"from": 300}).json()

    path = [bytes.fromhex(digest) for digest in proof["path"]]
    assert (proof["from"], proof["to"]) == (300, 700)
    assert merkle.is_consistent(300, 700, path, old.root, new.root)


def test_a_checkpoint_is_a_note_as_plain_text(viewer):
    make_ledger(3)

    response = viewer.get("/api/ledger/checkpoint")

    assert response["Content-Type"] == "text/plain; charset=utf-8"
    assert response.content.decode().splitlines()[:2] == ["fortheweebs/0", "3"]


# -- Verification ------------------------------------------------------------------
def queued() -> dict[str, object]:
    """Take the one task out of the real queue and return its arguments."""
    with app.connection() as broker, closing(broker.SimpleQueue("celery")) as queue:
        message = queue.get(timeout=5)
        message.ack()
        return message.payload[1]


def test_a_verification_is_queued_once_for_a_key_and_done_once(viewer, operator):
    make_ledger(3)
    key = {"Idempotency-Key": "k1"}

    first = operator.post("/api/ledger/verify", headers=key)
    arguments = queued()
    tasks.verify(**arguments)
    tasks.verify(**arguments)  # the broker delivered it twice
    again = operator.post("/api/ledger/verify", headers=key)

    assert (first.status_code, first.json()["status"]) == (202, "queued")
    assert (again.status_code, again.json()["status"]) == (200, "done")
    assert again.json()["id"] == first.json()["id"] == arguments["event_id"]
    assert Artifact.objects.filter(type="ledger_verify").count() == 1
    assert viewer.get("/api/ledger/verify").json()["ok"] is True


def test_a_verification_is_refused_to_a_role_that_may_only_read(viewer):
    response = viewer.post("/api/ledger/verify")

    assert response.status_code == 403
    assert response.json()["detail"] == "Your role may not start a verification."


def test_a_queue_that_is_away_is_said_and_nothing_is_started(operator):
    app.conf.broker_url, before = "redis+socket:///nowhere.sock", app.conf.broker_url
    app._after_fork()  # forgets its connections
    try:
        response = operator.post("/api/ledger/verify")
    finally:
        app.conf.broker_url = before
        app._after_fork()  # forgets its connections

    assert (response.status_code, response["Retry-After"]) == (503, "5")


def test_the_last_result_is_told_with_what_is_anchored(viewer):
    make_ledger(3)
    verify_ledger(full=True)

    body = viewer.get("/api/ledger/verify").json()

    assert (body["ok"], body["size"], body["full"]) == (True, 3, True)
    assert (body["firstBad"], body["kind"], body["anchoredSize"]) == (None, "", 3)


# -- Bounds ------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("url", "queries"),
    [
        (f"{URL}?limit=1000", 2),
        (f"{URL}?after=-1&limit=1000", 2),
        (f"{DOCUMENTED}?limit=1000", 3),
        (f"{URL}/5", 1),
        ("/api/ledger/checkpoint", 1),
        ("/api/ledger/verify", 2),
    ],
)
def test_a_route_asks_the_database_a_fixed_number_of_times(
    viewer, django_assert_max_num_queries, url, queries
):
    make_ledger(300)

    with django_assert_max_num_queries(queries):
        assert viewer.get(url).status_code == 200


@pytest.mark.django_db
@pytest.mark.parametrize("url", [URL, DOCUMENTED, f"{URL}/0", "/api/ledger/verify"])
def test_strangers_are_refused(client, url):
    response = client.get(url)

    assert response.status_code == 401
    assert "error" in json.loads(response.content)
    assert sequencer.sequence() == 0
