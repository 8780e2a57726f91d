"""Make the roles as groups, with the permissions they name."""

from typing import Any

from fortheweebs.roles import ROLES

# Permissions whose codename does not end with the model they hang on.
MODELS = {
    "view_payload": "report",
    "verify_ledger": "artifact",
    "hold_instance_without_end": "instance",
    "override_breaker": "breakerstate",
    "override_breaker_without_end": "breakerstate",
    "reset_breaker": "breakerstate",
}


def make_groups(apps: Any, using: str) -> None:
    """Make what is missing and give each group exactly what its role names.

    The Permission rows are made here, since Django makes those only after migrating.
    """
    kinds = apps.get_model("contenttypes", "ContentType").objects.using(using)
    permissions = apps.get_model("auth", "Permission").objects.using(using)
    groups = apps.get_model("auth", "Group").objects.using(using)
    rows = {}
    for name in sorted(frozenset().union(*ROLES.values())):
        app, codename = name.split(".")
        model = MODELS.get(codename, codename.rsplit("_", 1)[-1])
        kind, _ = kinds.get_or_create(app_label=app, model=model)
        say = f"Can {codename.replace('_', ' ')}"
        rows[name], _ = permissions.get_or_create(
            content_type=kind, codename=codename, defaults={"name": say}
        )
    for role, names in ROLES.items():
        group, _ = groups.get_or_create(name=role)
        group.permissions.set([rows[name] for name in names])
