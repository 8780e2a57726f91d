"""The OpenAPI document and its page: staff only, complete, from this host alone."""

import pytest
from django.contrib.auth.models import User


@pytest.fixture
def staff_client(client, db):
    client.force_login(
        User.objects.create_user("ann", is_staff=True),
        "django.contrib.auth.backends.ModelBackend",
    )
    return client


def is_staff_only(operation: dict) -> bool:
    """Tell whether an operation wants credentials."""
    return bool(operation.get("security")) and {} not in operation["security"]


def test_the_document_holds_every_documented_route(staff_client):
    answer = staff_client.get("/api/schema", headers={"Accept": "application/json"})

    document = answer.json()
    assert {
        "/api/health/live",
        "/api/health/ready",
        "/api/health/artifacts",
        "/api/bug-fixer/report",
        "/api/ledger/artifacts",
    } <= set(document["paths"])
    assert set(document["components"]["securitySchemes"]) == {"bearer", "session"}


def test_every_staff_operation_documents_its_refusal(staff_client):
    document = staff_client.get(
        "/api/schema", headers={"Accept": "application/json"}
    ).json()

    silent = [
        f"{method} {path}"
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if is_staff_only(operation)
        and not {"401", "403"} <= set(operation["responses"])
    ]

    assert silent == []


def test_the_page_loads_nothing_from_elsewhere(staff_client):
    answer = staff_client.get("/api/docs")

    page = answer.content.decode()
    assert "img-src 'self' data:" in answer.headers["Content-Security-Policy"]
    assert "//cdn" not in page
    assert "https://" not in page
    assert "<style" not in page
