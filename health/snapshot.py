"""The last results of all checks and what the probes say of them. Pure.

Intervals are differences of the monotonic clock, which every process of one boot of
the machine shares; wall-clock times are only shown. A snapshot of another boot, from
the future, cut short or unreadable is no snapshot.
"""

import json
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

FRESH_SECONDS = 15.0
DOWN_AFTER = 2
UP_AFTER = 2
FORMAT = 1


class State(StrEnum):
    """What a check or a probe says, in the words of the health+json draft."""

    PASS = "pass"  # noqa: S105 - a state, not a secret
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "unknown"


class Probe(StrEnum):
    """The endpoints asked by Kubernetes."""

    LIVE = "live"
    READY = "ready"
    STARTUP = "startup"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run of one check found."""

    state: State
    at: float
    at_ns: int
    duration: float
    error: str = ""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """A dependency's damped state with its last outcome and since when."""

    name: str
    state: State
    required: bool
    since: float
    at: float
    at_ns: int
    duration: float
    error: str = ""
    fails: int = 0
    passes: int = 0

    def age(self, now_ns: int) -> float:
        """Return the seconds since the last completed run."""
        return max(0.0, (now_ns - self.at_ns) / 1e9)


@dataclass(frozen=True, slots=True)
class ProbeState:
    """What a probe says and since when."""

    name: Probe
    state: State
    since: float
    error: str = ""


@dataclass(frozen=True, slots=True)
class Hold:
    """An operator's hold as the instance last read it."""

    kind: str
    reason: str
    by: str
    until: float | None

    def holds_at(self, now: float) -> bool:
        """Tell whether the hold has not ended by itself."""
        return self.until is None or now < self.until


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All results at one moment, written whole by whoever holds the sampler lock."""

    at: float
    at_ns: int
    boot: str
    holder: int
    checks: tuple[CheckResult, ...]
    probes: tuple[ProbeState, ...] = ()
    missing_migrations: tuple[str, ...] | None = None
    hold: Hold | None = None
    version: str = ""
    roles: tuple[str, ...] = field(default=())

    def check(self, name: str) -> CheckResult | None:
        """Return one check's result."""
        return next((check for check in self.checks if check.name == name), None)

    def probe(self, name: Probe) -> ProbeState | None:
        """Return what one probe said when this was written."""
        return next((probe for probe in self.probes if probe.name == name), None)

    def age(self, now_ns: int) -> float:
        """Return the seconds since this was written."""
        return (now_ns - self.at_ns) / 1e9

    @property
    def database_fails(self) -> bool:
        """Tell whether the database is known to fail; unknown is not down."""
        check = self.check("db")
        return check is not None and check.state is State.FAIL

    @property
    def database_passes(self) -> bool:
        """Tell whether the database is known to answer."""
        check = self.check("db")
        return check is not None and check.state in {State.PASS, State.WARN}

    def to_json(self) -> str:
        """Write the snapshot as one JSON object."""
        return json.dumps({"format": FORMAT, **asdict(self)}, separators=(",", ":"))


def parse_snapshot(text: str | bytes, *, boot: str, now_ns: int) -> Snapshot | None:
    """Read a snapshot of this boot; anything else is no snapshot."""
    try:
        raw = json.loads(text)
        if raw.pop("format") != FORMAT or raw["boot"] != boot:
            return None
        snapshot = _from_raw(raw)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return snapshot if snapshot.at_ns <= now_ns else None


def _from_raw(raw: dict[str, Any]) -> Snapshot:
    missing, hold = raw["missing_migrations"], raw["hold"]
    return Snapshot(
        **{
            **raw,
            "at": float(raw["at"]),
            "at_ns": int(raw["at_ns"]),
            "checks": tuple(
                CheckResult(**{**check, "state": State(check["state"])})
                for check in raw["checks"]
            ),
            "probes": tuple(
                ProbeState(
                    **{
                        **probe,
                        "name": Probe(probe["name"]),
                        "state": State(probe["state"]),
                    }
                )
                for probe in raw["probes"]
            ),
            "missing_migrations": None if missing is None else tuple(missing),
            "hold": Hold(**hold) if hold else None,
            "roles": tuple(raw["roles"]),
        }
    )


def first_result(name: str, outcome: Outcome, *, required: bool) -> CheckResult:
    """Believe the first outcome at once: there is nothing to damp yet."""
    failed = outcome.state is State.FAIL
    return CheckResult(
        name=name,
        state=outcome.state,
        required=required,
        since=outcome.at,
        at=outcome.at,
        at_ns=outcome.at_ns,
        duration=outcome.duration,
        error=outcome.error,
        fails=DOWN_AFTER if failed else 0,
        passes=0 if failed else UP_AFTER,
    )


def next_result(last: CheckResult, outcome: Outcome) -> CheckResult:
    """Damp: down after two fails in a row, up after two passes in a row."""
    failed = outcome.state is State.FAIL
    fails = last.fails + 1 if failed else 0
    passes = 0 if failed else last.passes + 1
    state = last.state
    if failed and fails >= DOWN_AFTER:
        state = State.FAIL
    elif not failed and (last.state is not State.FAIL or passes >= UP_AFTER):
        state = outcome.state
    return replace(
        last,
        state=state,
        since=last.since if state is last.state else outcome.at,
        at=outcome.at,
        at_ns=outcome.at_ns,
        duration=outcome.duration,
        error=outcome.error,
        fails=fails,
        passes=passes,
    )


def overdue_runs(started_ns: int, now_ns: int, *, period: float, timeout: float) -> int:
    """Count the runs that a hanging one has cost: its own, and one each period."""
    late = (now_ns - started_ns) / 1e9 - timeout
    return 0 if late < 0 else 1 + int(late / period)


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether to send traffic here: each condition, and a word on each that fails."""

    ready: bool
    checks: dict[str, bool]
    reasons: tuple[str, ...]


def judge_ready(
    snapshot: Snapshot | None, *, now: float, now_ns: int, draining: bool
) -> Readiness:
    """Say true only when everything is confirmed; never fail open."""
    age = None if snapshot is None else snapshot.age(now_ns)
    fresh = age is not None and age <= FRESH_SECONDS
    checks = {"db": False, "cache": False, "queue": False}
    reasons: list[str] = []
    if snapshot is None or not fresh:
        reasons.append(
            "no snapshot yet" if age is None else f"snapshot is {age:.0f} s old"
        )
    else:
        reasons += _judge_checks(snapshot, checks)
    migrated = fresh and snapshot is not None and snapshot.missing_migrations == ()
    if fresh and not migrated:
        reasons.append("migrations are missing or not known")
    held = (
        snapshot is not None
        and snapshot.hold is not None
        and (snapshot.hold.kind == "drain" and snapshot.hold.holds_at(now))
    )
    if held:
        reasons.append("held by an operator")
    if draining:
        reasons.append("draining")
    checks |= {"fresh": fresh, "migrations": migrated}
    checks["accepting"] = not (held or draining)
    return Readiness(ready=not reasons, checks=checks, reasons=tuple(reasons))


def _judge_checks(snapshot: Snapshot, checks: dict[str, bool]) -> list[str]:
    """Fill in each check; return a word on each required one that does not pass."""
    reasons = []
    for check in snapshot.checks:
        checks[check.name] = check.state in {State.PASS, State.WARN}
        if check.required and not checks[check.name]:
            reasons.append(f"{check.name} fails")
    reasons += [
        f"{name} was never checked"
        for name in ("db", "cache", "queue")
        if snapshot.check(name) is None
    ]
    return reasons


@dataclass(frozen=True, slots=True)
class Liveness:
    """Whether the process itself is well; nothing outside it counts."""

    reason: str = ""
    details: dict[str, int | float] = field(default_factory=dict)

    @property
    def alive(self) -> bool:
        """Tell whether nothing speaks against it."""
        return not self.reason


def judge_live(
    *, rss: int, max_rss: int, slot_age: float | None, stale_after: float
) -> Liveness:
    """Fail on memory, and on a heartbeat that has stopped; None is not known."""
    if rss > max_rss:
        return Liveness("memory_exhaustion", {"rss": rss, "limit": max_rss})
    if slot_age is not None and slot_age > stale_after:
        return Liveness("workers_frozen", {"heartbeatAge": round(slot_age, 1)})
    return Liveness()


def judge_startup(
    snapshot: Snapshot | None, *, now_ns: int, latched: bool
) -> dict[str, bool]:
    """Tell what is initialised; once everything was, it stays so for this boot."""
    fresh = snapshot is not None and snapshot.age(now_ns) <= FRESH_SECONDS
    database = fresh and snapshot is not None and snapshot.database_passes
    migrated = fresh and snapshot is not None and snapshot.missing_migrations == ()
    return {
        "env": True,  # a wrong setting stops the process before it can answer
        "database": latched or database,
        "migrations": latched or migrated,
        "sampled": latched or fresh,
    }
