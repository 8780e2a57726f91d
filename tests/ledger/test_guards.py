"""Guards come back by themselves; how the ledger stands is told in one query."""

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection, migrations, models
from django.db.migrations.state import ProjectState

from ledger import services, spool, triggers
from ledger.models import Artifact
from tests.ledger.ledgers import forget_after, make_ledger


@pytest.mark.django_db(transaction=True)
def test_a_migration_that_rebuilds_a_table_gets_its_guards_back():
    before = ProjectState.from_apps(apps)
    after = before.clone()
    wider = models.CharField(max_length=70)
    migrations.AlterField("artifact", "node", wider).state_forwards("ledger", after)
    old = before.apps.get_model("ledger", "artifact")
    new = after.apps.get_model("ledger", "artifact")

    with connection.schema_editor() as editor:
        editor.alter_field(
            old, old._meta.get_field("node"), new._meta.get_field("node")
        )
    lost = triggers.missing(connection)
    call_command("migrate", "--skip-checks", verbosity=0)

    assert bool(lost) == (connection.vendor == "sqlite")
    assert triggers.missing(connection) == []


@pytest.mark.django_db
def test_how_the_ledger_stands_is_one_query(django_assert_num_queries):
    make_ledger(300)
    services.record(type="restart", source="watchdog")
    services.emit(type="restart", source="watchdog")

    with django_assert_num_queries(1):
        now = services.state()

    assert (now.size, now.pending, now.anchored_size) == (300, 1, 300)
    assert (now.origin, now.guards_present) == ("fortheweebs/0", True)
    assert (len(now.root), now.last_verify) == (64, None)
    assert now.spool_bytes == spool.waiting_bytes() > 0
    assert 0 <= now.oldest_pending_seconds < 60
    triggers.remove(connection)
    assert services.state().guards_present is False
    triggers.install(connection)


@pytest.mark.django_db
def test_an_empty_ledger_stands_too():
    now = services.state()

    assert (now.size, now.root, now.checkpoint_at, now.pending) == (0, "", None, 0)


@pytest.mark.django_db
def test_counts_by_kind_count_each_sequence_once(django_assert_max_num_queries):
    services.counts_by_kind()
    make_ledger(300)
    services.record(type="degrade", source="readiness")  # pending: not counted yet

    first = services.counts_by_kind()
    make_ledger(100)
    with django_assert_max_num_queries(2):
        second = services.counts_by_kind()
    forget_after(0)
    make_ledger(3)
    third = services.counts_by_kind()

    assert first == {("restart", "watchdog"): 300}
    assert second == {("restart", "watchdog"): 400, ("degrade", "readiness"): 1}
    assert third[("restart", "watchdog")] == 3
    assert Artifact.objects.count() >= 3
