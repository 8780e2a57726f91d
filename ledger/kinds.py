"""What may happen and who may say so: the kinds of artifacts. Pure."""

from enum import StrEnum


class ArtifactType(StrEnum):
    """What happened; the first five are the documented API's."""

    RESTART = "restart"
    DEGRADE = "degrade"
    RECOVER = "recover"
    BREAKER_TRIP = "breaker_trip"
    BREAKER_RESET = "breaker_reset"
    WATCHDOG_INTENT = "watchdog_intent"
    WATCHDOG_OUTCOME = "watchdog_outcome"
    WATCHDOG_REFUSED = "watchdog_refused"
    OVERRIDE = "override"
    HOLD = "hold"
    ACCOUNT_CHANGE = "account_change"
    LOGIN_LOCKED = "login_locked"
    LEDGER_VERIFY = "ledger_verify"
    RESTORE = "restore"
    DEPLOY = "deploy"
    BUG_OPENED = "bug_opened"
    BUG_REGRESSED = "bug_regressed"
    BUG_RESOLVED = "bug_resolved"
    BUG_IGNORED = "bug_ignored"
    BUG_MERGED = "bug_merged"
    BUG_ANALYZED = "bug_analyzed"


class Source(StrEnum):
    """Which part of the system says so."""

    LIVENESS = "liveness"
    READINESS = "readiness"
    STARTUP = "startup"
    WATCHDOG = "watchdog"
    CIRCUIT_BREAKER = "circuit_breaker"
    BUGFIXER = "bugfixer"
    OPERATOR = "operator"
    CHAOS = "chaos"
    LEDGER = "ledger"
