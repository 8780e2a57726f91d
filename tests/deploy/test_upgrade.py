"""The rule of upgrades: the code of the release before runs on the schema of this one."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.db import migrations, models
from django.db.migrations.state import ModelState, ProjectState

from tests.deploy.expanding import later_migrations, refused
from tests.server import ROOT, Installation, wait_for

APPS = {"fortheweebs", "health", "bugfixer", "breakers", "ledger"}
NAMES = {"name": models.CharField(max_length=20), "node": models.TextField(null=True)}


def judge(*operations, version="1.5.0", **marks) -> list[str]:
    """Return what is refused of a migration of an app with one model."""
    state = ProjectState()
    state.add_model(
        ModelState("app", "Thing", [("id", models.AutoField()), *NAMES.items()])
    )
    made = migrations.Migration("0002_later", "app")
    made.operations = list(operations)
    vars(made).update(marks)
    return refused(made, state, version)


def add(**options):
    return migrations.AddField("thing", "more", models.IntegerField(**options))


def alter(name, field):
    return migrations.AlterField("thing", name, field)


CONTRACTING = {
    "remove a field": migrations.RemoveField("thing", "node"),
    "delete a model": migrations.DeleteModel("Thing"),
    "rename a field": migrations.RenameField("thing", "node", "host"),
    "rename a model": migrations.RenameModel("Thing", "Item"),
    "rename a table": migrations.AlterModelTable("thing", "things"),
    "add a field that must be set": add(default=1),
    "refuse NULL": alter("node", models.TextField(default="")),
    "refuse NULL with a default": alter("node", models.TextField(db_default="")),
    "shorten": alter("name", models.CharField(max_length=10)),
    "limit": alter("node", models.CharField(max_length=10, null=True)),
    "make unique": alter("name", models.CharField(max_length=20, unique=True)),
    "change a type": alter("name", models.IntegerField()),
    "constrain": migrations.AddConstraint(
        "thing", models.UniqueConstraint(fields=["name"], name="once")
    ),
    "run SQL": migrations.RunSQL("DROP TABLE app_thing"),
    "hide it from the state": migrations.SeparateDatabaseAndState(
        database_operations=[migrations.RemoveField("thing", "node")]
    ),
}
EXPANDING = {
    "add a field that may be NULL": add(null=True),
    "add a field with a default of the database": add(db_default=1),
    "lengthen": alter("name", models.CharField(max_length=40)),
    "allow NULL": alter("name", models.CharField(max_length=20, null=True)),
    "index": migrations.AddIndex(
        "thing", models.Index(fields=["name"], name="by_name")
    ),
    "add a model": migrations.CreateModel("Other", [("id", models.AutoField())]),
    "order": migrations.AlterModelOptions("thing", {"ordering": ["name"]}),
    "fill": migrations.RunPython(migrations.RunPython.noop),
    "forget what stays": migrations.SeparateDatabaseAndState(
        state_operations=[migrations.RemoveField("thing", "node")]
    ),
}


@pytest.mark.parametrize("operation", CONTRACTING.values(), ids=CONTRACTING)
def test_a_migration_that_takes_away_is_refused(operation):
    assert len(judge(operation)) == 1


@pytest.mark.parametrize("operation", EXPANDING.values(), ids=EXPANDING)
def test_a_migration_that_adds_is_not(operation):
    assert judge(operation) == []


def test_a_new_table_is_finished_in_its_migration():
    made = migrations.CreateModel("Other", [("id", models.AutoField())])
    more = migrations.AddField("other", "more", models.IntegerField(default=1))

    assert judge(made, more) == []


@pytest.mark.parametrize(("last_used", "reasons"), [("1.4.0", 0), ("1.5.0", 1)])
def test_what_goes_was_unused_for_a_release(last_used, reasons):
    removed = migrations.RemoveField("thing", "node")

    assert len(judge(removed, contracts=last_used)) == reasons


def test_every_migration_of_ours_keeps_the_release_before_at_work():
    found = {
        str(migration): reasons
        for migration, state in later_migrations(APPS)
        if (reasons := refused(migration, state, settings.VERSION))
    }

    assert found == {}


# -- The code before, on the schema of today ---------------------------------------
def git(*words: str) -> str:
    """Ask git about this checkout; skip where it knows too little, or fail."""
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
    if done.returncode == 0:
        return done.stdout.strip()
    sentence = f"needs a clone with its whole history and its tags: {done.stderr}"
    if os.environ.get("REQUIRE_ALL") == "1":
        pytest.fail(sentence)
    pytest.skip(sentence)


def commit_before() -> str:
    """Return the release before, or else what came before the newest migration."""
    # Not HEAD: it may be the release that is being made.
    if git("tag", "--merged", "HEAD^"):
        return git("describe", "--tags", "--abbrev=0", "HEAD^")
    newest = git("log", "-1", "--format=%H", "--", "*/migrations/[0-9]*.py")
    return git("rev-parse", "--verify", f"{newest}^")


@pytest.fixture
def code_before() -> Iterator[Path]:
    """The code of the release before, in a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="ftw-before-", dir="/tmp"))
    try:
        archive = folder / "all.tar"
        git("archive", "-o", str(archive), commit_before())
        subprocess.run(["tar", "-xf", archive, "-C", folder], check=True)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_the_code_before_runs_on_the_schema_of_today(code_before):
    report = {"errorMessage": "Test", "pageUrl": "http://x/", "severity": "medium"}
    local = {"LOCAL_OPERATOR": "1", "WEB_WORKERS": "1"}
    with Installation(postgres=True, **local) as site:  # migrated by today's code
        site.code = code_before
        site.start("watchdog", "watchdog", sys.executable, "manage.py", "watchdog")
        site.start_web()
        site.wait_ready()

        reported = site.get(
            "/api/bug-fixer/report",
            method="POST",
            body=json.dumps(report).encode(),
            headers={"Content-Type": "application/json"},
        )
        assert reported.status == 200, reported.body
        opened = wait_for(lambda: sequenced(site, "bug_opened"), 8, "an artifact")

        assert opened["subject"] == f"bug:{reported.json['data']['bug_id']}"
        # By the code of today: each reads what the other wrote.
        assert "whole: 1 entries" in site.manage("ledger", "verify")


def sequenced(site: Installation, kind: str) -> dict | None:
    """Return the one artifact of a kind once it has its place in the tree."""
    found = site.get(f"/api/health/artifacts?type={kind}").json["artifacts"]
    return next((one for one in found if one["sequence"] is not None), None)
