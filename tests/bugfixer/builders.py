"""Builders of reports and people for the tests of the bug fixer."""

import json
from typing import Any

from django.contrib.auth.models import Group, User
from django.test import Client
from rest_framework.test import APIClient

from bugfixer import services
from bugfixer.intake import Submission
from bugfixer.models import Bug, Report

REPORT = "/api/bug-fixer/report"
BODY = {
    "errorMessage": "Test error",
    "pageUrl": "http://localhost:3003/test",
    "severity": "medium",
}
PYTHON_STACK = """Traceback (most recent call last):
  File "/app/shop/views.py", line 58, in post
    pay(cart)
  File "/app/shop/checkout.py", line 212, in pay
    connection.open()
  File "/venv/lib/python3.11/site-packages/psycopg_pool/pool.py", line 9, in getconn
    raise PoolTimeout(message)
TimeoutError: couldn't get a connection after 5.00 s
"""
PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAA"
    "AABJRU5ErkJggg=="
)


def make_report(**fields: Any) -> Report:
    """Report something; what is not named is ordinary."""
    sent = {
        "error_message": "Test error",
        "page_url": "http://localhost:3003/test",
        "severity": "medium",
    }
    return services.report_bug(Submission(**{**sent, **fields})).report


def make_bug(**fields: Any) -> Bug:
    """Report something and return its bug."""
    return make_report(**fields).bug


def post(client: Client, path: str = REPORT, **fields: Any) -> Any:
    """Post the ordinary report, changed or added to."""
    body = {**BODY, **fields}
    return client.post(path, json.dumps(body), content_type="application/json")


def staff(role: str = "operator") -> APIClient:
    """Return a client of a member of staff with this role."""
    user = User.objects.create_user(f"{role}-person", is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    client = APIClient()
    client.force_authenticate(User.objects.get(pk=user.pk))
    return client
