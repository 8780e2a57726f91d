"""Who may see and do what, for every kind of user."""

import itertools

import pytest
from django.contrib.admin import site
from django.contrib.auth.models import Group, Permission
from django.urls import reverse
from django.utils import timezone

from bugfixer.models import Bug
from fortheweebs.admin import READ_ONLY_APPS
from fortheweebs.apps import _keep_roles
from fortheweebs.roles import ROLES
from health.models import Instance
from ledger.services import record
from tests.console.conftest import BACKEND, make_user

pytestmark = pytest.mark.django_db
EVERYBODY = ("viewer", "support", "operator", "admin", "superuser")
# page -> who reads it; everybody else of the staff gets 403.
PAGES = {
    "admin:index": {*EVERYBODY, "staff"},
    "admin:now": {*EVERYBODY, "staff"},
    "admin:password_change": {*EVERYBODY, "staff"},
    "admin:health_instance_changelist": set(EVERYBODY),
    "admin:bugfixer_bug_changelist": set(EVERYBODY),
    "admin:bugfixer_bug_add": set(),
    "admin:ledger_artifact_changelist": set(EVERYBODY),
    "admin:ledger_artifact_add": set(),
    "admin:auth_user_changelist": {"admin", "superuser"},
    "admin:auth_user_add": {"admin", "superuser"},
    "admin:auth_group_changelist": {"admin", "superuser"},
    "admin:auth_group_add": set(),
    "admin:knox_authtoken_changelist": {"admin", "superuser"},
    "admin:knox_authtoken_add": set(),
    "admin:health_instance_add": set(),
}


@pytest.mark.parametrize("role", [*EVERYBODY, "staff"])
def test_each_role_reads_exactly_its_pages(login, role):
    client = login(role)

    answers = {page: client.get(reverse(page)).status_code for page in PAGES}

    assert answers == {
        page: 200 if role in allowed else 403 for page, allowed in PAGES.items()
    }


@pytest.mark.parametrize("role", ["", None])
def test_a_stranger_and_a_user_who_is_not_staff_get_the_login(client, role):
    if role is not None:
        client.force_login(make_user(role), BACKEND)

    for page in PAGES:
        answer = client.get(reverse(page))
        assert answer.status_code == 302
        assert answer.headers["Location"].startswith(reverse("admin:login"))


def closed_models():
    return [
        model for model in site._registry if model._meta.app_label in READ_ONLY_APPS
    ]


def test_nobody_adds_changes_or_deletes_what_must_not_change(login, rf):
    login("superuser")
    request = rf.get("/")
    request.user = make_user("superuser", name="second")

    assert len(closed_models()) >= 3
    for model in closed_models():
        options = site._registry[model]
        assert options.has_view_permission(request)
        assert not options.has_add_permission(request)
        assert not options.has_change_permission(request)
        assert not options.has_delete_permission(request)
        assert not options.get_actions(request)


def test_what_a_superuser_posts_to_a_closed_model_changes_nothing(login):
    client = login("superuser")
    now = timezone.now()
    rows = [
        Instance.objects.create(
            name="web-1", role="web", boot_id="b", started_at=now, seen_at=now
        ),
        Bug.objects.create(
            title="t", severity="low", first_seen=now, last_seen=now, occurrences=1
        ),
        record(type="restart", source="watchdog", subject="instance:web-1"),
    ]
    before = [list(type(row).objects.values()) for row in rows]
    form = {"post": "yes", "title": "x", "name": "x", "hold": "drain", "type": "x"}

    for row in rows:
        base = f"admin:{row._meta.label_lower.replace('.', '_')}"
        added = client.post(reverse(f"{base}_add"), form)
        client.post(reverse(f"{base}_change", args=[row.pk]), form)
        deleted = client.post(reverse(f"{base}_delete", args=[row.pk]), form)
        assert (added.status_code, deleted.status_code) == (403, 403)

    assert [list(type(row).objects.values()) for row in rows] == before


@pytest.mark.parametrize("role", ROLES)
def test_a_group_may_do_exactly_what_its_role_names(role):
    rows = Group.objects.get(name=role).permissions.values_list(
        "content_type__app_label", "codename"
    )

    assert {f"{app}.{name}" for app, name in rows} == ROLES[role]


def test_each_role_has_the_rights_of_the_one_before():
    roles = list(ROLES.values())

    assert all(less < more for less, more in itertools.pairwise(roles))


def test_every_right_of_a_role_is_one_that_a_model_declares():
    from django.apps import apps

    declared = {
        f"{model._meta.app_label}.{name}"
        for model in apps.get_models()
        for name in [
            *(
                f"{act}_{model._meta.model_name}"
                for act in model._meta.default_permissions
            ),
            *(codename for codename, _ in model._meta.permissions),
        ]
    }

    assert ROLES["admin"] <= declared


def test_an_upgrade_gives_back_what_was_taken_from_a_role():
    from django.apps import apps

    group = Group.objects.get(name="operator")
    group.permissions.clear()
    Group.objects.filter(name="viewer").delete()
    before = Permission.objects.count()

    _keep_roles(using="default", apps=apps)

    assert group.permissions.count() == len(ROLES["operator"])
    assert Group.objects.filter(name="viewer").exists()
    assert Permission.objects.count() == before


def test_the_navigation_names_only_what_the_role_reads(login):
    page = login("viewer").get(reverse("admin:index")).content.decode()

    assert reverse("admin:health_instance_changelist") in page
    assert reverse("admin:auth_user_changelist") not in page
