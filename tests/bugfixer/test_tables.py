"""The tables and the indexes that the reads stand on."""

import pytest
from django.db import connection, migrations
from django.db.migrations.executor import MigrationExecutor

from bugfixer.models import Bug, Report
from bugfixer.trigram import INDEX, create_trigram_index

pytestmark = pytest.mark.django_db
ON_POSTGRES = connection.vendor == "postgresql"


def indexes(table: str) -> set[str]:
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, table)
    return {name for name, row in found.items() if row["index"]}


def test_the_named_indexes_are_there():
    assert "bugfixer_bug_triage" in indexes(Bug._meta.db_table)
    assert {"bugfixer_report_bug", "bugfixer_report_uncounted"} <= indexes(
        Report._meta.db_table
    )


@pytest.mark.skipif(not ON_POSTGRES, reason="trigrams are PostgreSQL's")
def test_titles_have_a_trigram_index_that_a_search_can_use():
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexdef FROM pg_indexes WHERE indexname = %s", [INDEX])
        (definition,) = cursor.fetchone()
        cursor.execute("SET LOCAL enable_seqscan = off")
        search = Bug.objects.filter(title__icontains="checkout").explain()

    assert "gin_trgm_ops" in definition
    assert "upper" in definition.lower()
    assert INDEX in search


@pytest.mark.skipif(not ON_POSTGRES, reason="roles are PostgreSQL's")
def test_a_role_that_may_not_make_the_extension_migrates_without_the_index():
    with connection.cursor() as cursor:
        cursor.execute(f"DROP INDEX {INDEX}")
        cursor.execute("DROP EXTENSION pg_trgm")
        cursor.execute("CREATE ROLE plain_app")
        cursor.execute("ALTER TABLE bugfixer_bug OWNER TO plain_app")
        cursor.execute("SET ROLE plain_app")

    with connection.schema_editor(atomic=False) as editor:
        create_trigram_index(None, editor)

    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)
        cursor.execute("RESET ROLE")
    assert INDEX not in indexes("bugfixer_bug")


def test_the_one_migration_makes_the_tables_as_the_models_say():
    state = MigrationExecutor(connection).loader.project_state()

    made = {m for app, m in state.models if app == "bugfixer"}

    assert made == {"bug", "report", "fingerprint", "screenshot", "analysis"}
    assert migrations.RunPython(create_trigram_index).reversible is False
