"""create_token and create_operator."""

import datetime as dt
import io

import pytest
import time_machine
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.utils import timezone
from knox.models import AuthToken

from ledger.models import Artifact
from tests.console.conftest import make_user

pytestmark = pytest.mark.django_db
STAFF_ONLY = "/api/bug-fixer/list"


def run(*arguments):
    out = io.StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def ask(client, token):
    headers = {"Authorization": f"Bearer {token}"}
    return client.get(STAFF_ONLY, headers=headers).status_code


def test_a_token_is_printed_once_stored_hashed_and_lets_its_user_in(client):
    make_user("viewer")

    token = run("create_token", "viewer").strip()

    row = AuthToken.objects.get()
    assert token not in {row.digest, row.token_key}
    assert ask(client, token) == 200
    assert dt.timedelta(days=89) < row.expiry - timezone.now() <= dt.timedelta(days=90)


def test_a_token_ends_by_itself(client):
    make_user("viewer")
    token = run("create_token", "viewer", "--days", "2").strip()

    with time_machine.travel(timezone.now() + dt.timedelta(days=2, seconds=1)):
        assert ask(client, token) == 401


def test_a_wrong_token_is_refused(client):
    make_user("viewer")
    token = run("create_token", "viewer").strip()

    assert ask(client, token[:-1] + ("0" if token[-1] != "0" else "1")) == 401
    assert ask(client, "") == 401


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nobody-at-all"], "There is no user 'nobody-at-all'."),
        (["nobody"], "'nobody' is not an active member of staff."),
        (["viewer", "--days", "0"], "--days is 0; it may be 1 to 3650."),
    ],
)
def test_a_token_for_nobody_is_refused_with_a_sentence(arguments, sentence):
    make_user("viewer")
    make_user("")

    with pytest.raises(CommandError) as refused:
        run("create_token", *arguments)

    assert str(refused.value) == sentence
    assert refused.value.returncode == 1
    assert not AuthToken.objects.exists()


def test_a_new_token_is_recorded_and_not_told():
    user = make_user("viewer")

    token = run("create_token", "viewer").strip()

    row = Artifact.objects.get(type="account_change")
    assert (row.subject, row.details["changed"]) == (f"user:{user.pk}", ["token added"])
    assert token[:8] not in row.body


def test_the_first_operator_can_log_in_with_what_was_printed(client):
    words = run("create_operator").split()

    assert words[:4] == ["operator", "login:", "operator", "password:"]
    answer = client.post(
        "/admin/login/", {"username": "operator", "password": words[4]}
    )
    assert answer.status_code == 302
    assert User.objects.get().groups.get().name == "operator"
    assert not User.objects.get().is_superuser


def test_nothing_is_made_or_printed_where_somebody_is_staff():
    make_user("viewer")

    assert run("create_operator") == ""
    assert not User.objects.filter(username="operator").exists()


def test_two_installations_get_two_passwords():
    first = run("create_operator")
    User.objects.all().delete()

    assert run("create_operator") != first
