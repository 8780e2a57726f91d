"""Changes of users, groups and tokens leave an artifact, or do not happen."""

import datetime as dt
import json

import pytest
from django.contrib.auth.models import Group, User
from django.urls import reverse
from knox.models import AuthToken

from ledger.models import Artifact
from tests.console.conftest import PASSWORD, make_user

pytestmark = pytest.mark.django_db


def changes():
    return [
        (row.subject, row.actor, row.details["changed"])
        for row in Artifact.objects.filter(type="account_change").order_by("id")
    ]


def form_of(user, **changed):
    return {
        "username": user.username,
        "first_name": "",
        "last_name": "",
        "email": user.email,
        "is_active": "on",
        "is_staff": "on",
        "groups": [group.pk for group in user.groups.all()],
        **changed,
    }


def test_a_changed_role_is_recorded_with_who_did_it(login):
    client = login("admin")
    boss = User.objects.get(username="admin")
    user = make_user("viewer", name="ann", email="ann@example.org")
    support = Group.objects.get(name="support")

    answer = client.post(
        reverse("admin:auth_user_change", args=[user.pk]),
        form_of(user, groups=[support.pk], first_name="Ann"),
    )

    assert answer.status_code == 302
    assert [group.name for group in user.groups.all()] == ["support"]
    assert changes() == [
        (f"user:{user.pk}", f"user:{boss.pk}", ["first name", "groups"])
    ]


def test_no_name_and_no_address_reaches_the_ledger(login):
    client = login("admin")
    user = make_user("viewer", name="annabel", email="annabel@example.org")

    client.post(
        reverse("admin:auth_user_change", args=[user.pk]),
        form_of(user, username="bertram", email="bertram@example.org"),
    )

    body = Artifact.objects.get(type="account_change").body
    assert json.loads(body)["details"]["changed"] == ["email address", "username"]
    assert not any(word in body for word in ("annabel", "bertram", "example.org"))


def test_adding_and_deleting_a_user_is_recorded(login):
    client = login("admin")

    client.post(
        reverse("admin:auth_user_add"),
        {
            "username": "new",
            "usable_password": "true",
            "password1": PASSWORD,
            "password2": PASSWORD,
        },
    )
    user = User.objects.get(username="new")
    client.post(reverse("admin:auth_user_delete", args=[user.pk]), {"post": "yes"})

    assert not User.objects.filter(username="new").exists()
    assert [change for _, _, change in changes()] == [["added"], ["deleted"]]


def test_a_change_that_cannot_be_recorded_does_not_happen(login, settings):
    client = login("admin")
    user = make_user("viewer", name="ann")
    settings.NODE_NAME = "x" * 65  # longer than an artifact may hold

    with pytest.raises(ValueError, match="node"):
        client.post(
            reverse("admin:auth_user_change", args=[user.pk]),
            form_of(user, first_name="Ann"),
        )

    user.refresh_from_db()
    assert user.first_name == ""


def test_a_password_set_for_another_is_recorded(login):
    client = login("admin")
    user = make_user("viewer", name="ann")

    answer = client.post(
        reverse("admin:auth_user_password_change", args=[user.pk]),
        {
            "usable_password": "true",
            "password1": PASSWORD + "x",
            "password2": PASSWORD + "x",
        },
    )

    assert answer.status_code == 302
    assert changes()[0][0] == f"user:{user.pk}"
    assert "password" in changes()[0][2][0]


def test_a_password_of_ones_own_is_recorded_only_when_it_changed(login):
    client = login("viewer")
    new = "another long password 2"
    form = {"old_password": "wrong", "new_password1": new, "new_password2": new}

    refused = client.post(reverse("admin:password_change"), form)
    changed = client.post(
        reverse("admin:password_change"), {**form, "old_password": PASSWORD}
    )

    assert (refused.status_code, changed.status_code) == (200, 302)
    assert [change for _, _, change in changes()] == [["password"]]


def test_an_admin_makes_no_superuser_and_touches_none(login):
    client = login("admin")
    root = make_user("superuser")
    user = make_user("viewer", name="ann")

    client.post(
        reverse("admin:auth_user_change", args=[user.pk]),
        form_of(user, is_superuser="on"),
    )
    taken = client.post(
        reverse("admin:auth_user_password_change", args=[root.pk]),
        {"password1": "x", "password2": "x", "usable_password": "true"},
    )
    gone = client.post(
        reverse("admin:auth_user_delete", args=[root.pk]), {"post": "yes"}
    )

    user.refresh_from_db()
    assert not user.is_superuser
    assert (taken.status_code, gone.status_code) == (403, 403)
    assert User.objects.filter(pk=root.pk).exists()


def test_an_admin_does_not_hand_out_single_permissions(login):
    client = login("admin")
    user = make_user("viewer", name="ann")

    client.post(
        reverse("admin:auth_user_change", args=[user.pk]),
        form_of(user, user_permissions=[1]),
    )

    assert not user.user_permissions.exists()


def test_a_deleted_token_is_recorded_for_its_owner_and_never_shown(login):
    client = login("admin")
    owner = make_user("viewer", name="ann")
    row, token = AuthToken.objects.create(owner, dt.timedelta(days=1))

    page = client.get(reverse("admin:knox_authtoken_changelist")).content.decode()
    client.post(reverse("admin:knox_authtoken_delete", args=[row.pk]), {"post": "yes"})

    assert token not in page
    assert not AuthToken.objects.exists()
    assert changes()[0][0] == f"user:{owner.pk}"
    assert token not in Artifact.objects.get(type="account_change").body
