"""Whatever is sent, the answer is ours: never a 500, never a page."""

import json

import pytest
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bugfixer.models import Report
from tests.bugfixer.builders import BODY, REPORT, staff

pytestmark = pytest.mark.django_db
FIELDS = [
    *BODY, "errorStack", "errorType", "userId", "userEmail", "userAgent",
    "browserInfo", "screenshotData", "system", "component", "additionalData",
    "clientEventId", "release", "environment", "something",
]  # fmt: skip
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(
        ["\x00", "\ud800", "critical", "x" * 9000, "data:image/png;base64,"]
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
calm = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@calm
@given(changes=st.dictionaries(st.sampled_from(FIELDS), anything, max_size=5))
def test_any_fields_of_any_kind_give_a_200_or_a_400_in_shape(changes):
    answer = Client().post(
        REPORT, json.dumps({**BODY, **changes}), content_type="application/json"
    )

    assert answer.status_code in {200, 400}
    body = json.loads(answer.content)
    if answer.status_code == 200:
        assert Report.objects.filter(report_id=body["reportId"]).exists()
    else:
        assert set(body) == {"success", "error"}
        assert body["error"]


@calm
@given(raw=st.binary(max_size=300) | st.text().map(lambda t: t.encode("utf-16")))
def test_any_bytes_are_a_400_in_shape(raw):
    answer = Client().generic("POST", REPORT, raw, content_type="application/json")

    assert answer.status_code == 400
    assert set(json.loads(answer.content)) == {"success", "error"}


@settings(calm, max_examples=60)
@given(
    query=st.dictionaries(
        st.sampled_from(["status", "severity", "userId", "limit", "other"]),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
        max_size=3,
    )
)
def test_any_query_of_the_documented_list_is_a_200(query, reader):
    answer = reader.get("/api/bug-fixer/list", query)

    assert answer.status_code == 200


@settings(calm, max_examples=60)
@given(
    query=st.dictionaries(
        st.sampled_from(["status", "severity", "search", "limit", "cursor", "since"])
        | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
        max_size=3,
    )
)
def test_any_query_of_our_own_list_is_a_200_or_a_400(query, reader):
    answer = reader.get("/api/bug-fixer/bugs", query)

    assert answer.status_code in {200, 400}


@settings(calm, max_examples=60)
@given(
    path=st.sampled_from(["analyze", "resolve"]),
    body=st.dictionaries(
        st.sampled_from(["reportId", "resolutionNotes", "resolvedBy", "x"]), anything
    ),
)
def test_any_act_on_what_is_not_there_is_a_400_or_a_404(path, body, reader):
    answer = reader.post(
        f"/api/bug-fixer/{path}", json.dumps(body), content_type="application/json"
    )

    assert answer.status_code in {400, 404}
    assert set(answer.json()) == {"success", "error"}


@pytest.fixture
def reader(db):
    return staff()
