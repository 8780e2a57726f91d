"""Logging in: lock-outs, the caller's address, the cookie that reads detail."""

import pytest
import time_machine
from django.conf import settings
from django.core import signing
from django.test import Client
from django.urls import reverse

from fortheweebs.middleware import client_address
from fortheweebs.status import is_viewer
from health.viewer import COOKIE, sign_view
from ledger import spool
from ledger.models import Artifact
from tests.console.conftest import PASSWORD, make_user

LOGIN = "/admin/login/"


def enter(client, name, password, **extra):
    return client.post(LOGIN, {"username": name, "password": password}, **extra)


@pytest.mark.django_db
def test_five_wrong_passwords_lock_the_name_from_that_address(client):
    make_user("operator")

    wrong = [enter(client, "operator", "wrong").status_code for _ in range(5)]
    right = enter(client, "operator", PASSWORD)

    assert wrong == [200, 200, 200, 200, 429]
    assert right.status_code == 429
    assert right.headers["Retry-After"] == "900"
    assert b"Wait 15 min" in right.content


@pytest.mark.django_db
def test_a_lock_out_is_emitted_once_without_the_name_or_the_address(client):
    user = make_user("operator", name="annabel")

    for _ in range(8):
        enter(client, "annabel", "wrong", REMOTE_ADDR="198.51.100.7")
    spool.ship()

    row = Artifact.objects.get(type="login_locked")
    assert row.subject == f"user:{user.pk}"
    assert "annabel" not in row.body
    assert "198.51.100.7" not in row.body


@pytest.mark.django_db
def test_a_lock_out_of_a_name_nobody_has_is_emitted_without_it(client):
    for _ in range(5):
        enter(client, "secret-typed-here", "wrong")
    spool.ship()

    row = Artifact.objects.get(type="login_locked")
    assert row.subject == "login"
    assert "secret" not in row.body


@pytest.mark.django_db
def test_a_lock_ends_by_itself_although_it_was_tried_meanwhile(client):
    make_user("operator")
    with time_machine.travel("2026-11-24T03:00:00Z", tick=False):
        for _ in range(5):
            enter(client, "operator", "wrong")
    with time_machine.travel("2026-11-24T03:14:00Z", tick=False):
        meanwhile = enter(client, "operator", PASSWORD)
    with time_machine.travel("2026-11-24T03:15:01Z", tick=False):
        after = enter(client, "operator", PASSWORD)

    assert (meanwhile.status_code, after.status_code) == (429, 302)


@pytest.mark.django_db
def test_a_form_without_its_token_is_refused_on_a_page_of_ours():
    answer = enter(Client(enforce_csrf_checks=True), "operator", PASSWORD)

    assert answer.status_code == 403
    assert b"Nothing was done" in answer.content
    assert b"<style" not in answer.content


@pytest.mark.django_db
def test_another_address_and_another_name_are_not_locked(client):
    make_user("operator")
    make_user("viewer")
    for _ in range(5):
        enter(client, "operator", "wrong", REMOTE_ADDR="198.51.100.7")

    elsewhere = enter(client, "operator", PASSWORD, REMOTE_ADDR="198.51.100.8")
    other = enter(client, "viewer", PASSWORD, REMOTE_ADDR="198.51.100.7")

    assert (elsewhere.status_code, other.status_code) == (302, 302)


@pytest.mark.django_db
def test_a_forged_forwarding_header_neither_escapes_a_lock_nor_sets_one(client):
    make_user("operator")
    for number in range(5):
        enter(client, "operator", "wrong", HTTP_X_FORWARDED_FOR=f"198.51.100.{number}")

    answer = enter(client, "operator", PASSWORD, HTTP_X_FORWARDED_FOR="203.0.113.9")

    assert answer.status_code == 429


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (0, "203.0.113.9", "10.0.0.1"),
        (1, "", "10.0.0.1"),
        (1, "203.0.113.9", "203.0.113.9"),
        (1, "6.6.6.6, 203.0.113.9", "203.0.113.9"),
        (2, "6.6.6.6, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
        (2, "203.0.113.9", "10.0.0.1"),
        (1, "not an address", "10.0.0.1"),
        (1, "2001:db8::1", "2001:db8::1"),
        (1, "[2001:db8::1]", "2001:db8::1"),
    ],
)
def test_the_address_is_what_the_outermost_trusted_proxy_saw(
    rf, settings, proxies, forwarded, address
):
    settings.TRUSTED_PROXIES = proxies
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}

    request = rf.get("/", REMOTE_ADDR="10.0.0.1", headers=headers)

    assert client_address(request) == address


@pytest.mark.django_db
def test_a_login_hands_out_the_cookie_and_a_logout_takes_it_back(client, rf):
    make_user("operator")

    cookie = enter(client, "operator", PASSWORD).cookies[COOKIE]
    request = rf.get("/")
    request.COOKIES[COOKIE] = cookie.value
    gone = client.post(reverse("admin:logout")).cookies[COOKIE]

    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    assert cookie["max-age"] == 8 * 3600
    assert is_viewer(request)
    assert gone.value == ""
    assert gone["max-age"] == 0


@pytest.mark.django_db
def test_a_wrong_password_and_a_user_who_is_not_staff_get_no_cookie(client):
    make_user("operator")
    make_user("")

    wrong = enter(client, "operator", "wrong")
    nobody = enter(client, "nobody", PASSWORD)

    assert COOKIE not in wrong.cookies
    assert COOKIE not in nobody.cookies
    assert (wrong.status_code, nobody.status_code) == (200, 200)


def _forged():
    return signing.dumps({"u": 1, "g": []}, key="another key", salt="health.viewer")


@pytest.mark.parametrize(
    "value",
    [
        "",
        "x",
        _forged(),
        signing.dumps({"u": 1, "g": []}, key=settings.SECRET_KEY, salt="other"),
        sign_view(user=1, groups=[])[:-1] + "!",
    ],
    ids=["empty", "garbage", "another key", "another salt", "cut"],
)
def test_a_forged_cookie_reads_nothing(rf, value):
    request = rf.get("/")
    request.COOKIES[COOKIE] = value

    assert not is_viewer(request)


def test_a_cookie_older_than_eight_hours_reads_nothing(rf):
    with time_machine.travel("2026-11-24T03:00:00Z", tick=False):
        value = sign_view(user=1, groups=["operator"])
    request = rf.get("/")
    request.COOKIES[COOKIE] = value

    with time_machine.travel("2026-11-24T10:59:59Z", tick=False):
        young = is_viewer(request)
    with time_machine.travel("2026-11-24T11:00:01Z", tick=False):
        old = is_viewer(request)

    assert (young, old) == (True, False)


@pytest.mark.django_db
def test_the_login_says_how_things_are(client, snapshot):
    snapshot(cache="fail")

    page = client.get(LOGIN).content.decode()

    assert "failing since" in page
    assert "cache did not answer" not in page
