"""Who may do what: four groups, each with the rights of the one before. Pure."""

# codename -> what it allows, by app; the migration makes the Permission rows itself,
# since Django makes those only after migrating.
VIEWER = frozenset(
    {
        "ledger.view_artifact",
        "ledger.view_checkpoint",
        "breakers.view_breakerstate",
        "health.view_instance",
        "bugfixer.view_bug",
        "bugfixer.view_report",
        "bugfixer.view_analysis",
    }
)
SUPPORT = VIEWER | {
    "bugfixer.view_payload",
    "bugfixer.triage_bug",
    "bugfixer.analyze_bug",
    "bugfixer.resolve_bug",
}
OPERATOR = SUPPORT | {
    "breakers.override_breaker",
    "breakers.reset_breaker",
    "health.hold_instance",
    "ledger.verify_ledger",
}
ADMIN = OPERATOR | {
    "breakers.override_breaker_without_end",
    "health.hold_instance_without_end",
    "auth.view_user",
    "auth.add_user",
    "auth.change_user",
    "auth.delete_user",
    "auth.view_group",
    "knox.view_authtoken",
    "knox.delete_authtoken",
}
ROLES = {"viewer": VIEWER, "support": SUPPORT, "operator": OPERATOR, "admin": ADMIN}
