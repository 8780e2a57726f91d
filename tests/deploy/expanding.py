"""Which migrations the code of the release before lives with: those that only add.

While a rollout goes on, and after a way back, old code writes to the new schema. It
names every column that it knows and none that it does not.
"""

from collections.abc import Iterator
from typing import Any

from django.db import models
from django.db.migrations import Migration, operations
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState

# What RunPython does cannot be seen; it fills tables, and no review lets it do more.
HARMLESS = (
    operations.CreateModel,
    operations.AddIndex,
    operations.RemoveIndex,
    operations.RenameIndex,
    operations.AlterModelOptions,
    operations.AlterModelManagers,
    operations.AlterModelTableComment,
    operations.RunPython,
)


def may_be_left_out(field: models.Field[Any, Any]) -> bool:
    """Tell whether a row can be inserted by code that does not know the field."""
    return (
        field.null
        or field.many_to_many
        or getattr(field, "generated", False)
        or field.db_default is not models.NOT_PROVIDED
    )


def takes_less(old: models.Field[Any, Any], new: models.Field[Any, Any]) -> bool:
    """Tell whether something that could be written before is refused now."""
    return (
        type(old) is not type(new)
        # Whatever its default: code that knows the column writes NULL by name.
        or (old.null and not new.null)
        or (may_be_left_out(old) and not may_be_left_out(new))
        or (new.unique and not old.unique)
        or (old.max_length or 0) > (new.max_length or 1 << 31)
        or (not old.max_length and bool(new.max_length))
    )


def takes_away(operation: Operation, app: str, state: ProjectState) -> bool:
    """Tell whether old code may fail after the operation."""
    match operation:
        case operations.SeparateDatabaseAndState():
            inner = operation.database_operations
            return any(takes_away(one, app, state) for one in inner)
        case operations.AddField():
            return not may_be_left_out(operation.field)
        case operations.AlterField():
            model = state.models[app, operation.model_name_lower]
            return takes_less(model.fields[operation.name], operation.field)
        case _:
            return not isinstance(operation, HARMLESS)


def refused(migration: Migration, state: ProjectState, version: str) -> list[str]:
    """Return what a migration may not do, given the state before it.

    ``contracts = "1.4.0"`` on it names the last release that used what goes; it must
    have been followed by another one before this.
    """
    released = getattr(migration, "contracts", "")
    if released:
        late = number(released) >= number(version)
        return [f"contracts: {released} is not older than {version}"] if late else []
    made: set[str] = set()
    found = []
    state = state.clone()
    for one in migration.operations:
        if isinstance(one, operations.CreateModel):
            made.add(one.name_lower)
        # No old code knows a table that is new.
        elif getattr(one, "model_name_lower", "") not in made and takes_away(
            one, migration.app_label, state
        ):
            found.append(one.describe())
        one.state_forwards(migration.app_label, state)
    return found


def number(version: str) -> tuple[int, ...]:
    """Return a version as something that can be compared."""
    return tuple(map(int, version.split(".")))


def later_migrations(apps: set[str]) -> Iterator[tuple[Migration, ProjectState]]:
    """Yield every migration after an app's first ones, with the state before it."""
    loader = MigrationLoader(None)
    for (app, name), migration in sorted(loader.disk_migrations.items()):
        if app in apps and not name.startswith("0001_"):
            yield migration, loader.project_state((app, name), at_end=False)
