"""The answers of the probes and of /status, from the snapshot and the slots alone.

The edge, the probe port and the views behind Django all answer with these; none of
them waits for anything outside the process.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.template.loader import render_to_string

from health import startup
from health.places import drain_file
from health.processes import memory_limit, resident_bytes
from health.pulse import own_pulse
from health.slots import FRESH_SECONDS as SLOT_FRESH_SECONDS
from health.snapshot import (
    CheckResult,
    Hold,
    Liveness,
    Probe,
    Readiness,
    Snapshot,
    State,
    judge_live,
    judge_ready,
    judge_startup,
)
from health.snapshots import load_snapshot

JSON = "application/json"
HEALTH_JSON = "application/health+json"
TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
NOT_READY = "Not ready for traffic."
NOT_STARTED = "Not started yet."
_BOOLEAN_ROWS = (("Database", "db"), ("Cache", "cache"), ("Queue", "queue"))
_STARTED_NS = time.monotonic_ns()
_CSP = (
    "default-src 'self'; object-src 'none'; base-uri 'self';"
    " form-action 'self'; frame-ancestors 'none'"
)
# Each header costs a readiness answer as much as a check does: JSON needs only these.
PROBE_HEADERS = (("X-Content-Type-Options", "nosniff"), ("Cache-Control", "no-store"))
PROBE_HEADERS_503 = (*PROBE_HEADERS, ("Retry-After", "5"))
SECURITY_HEADERS = (
    ("Content-Security-Policy", _CSP),
    ("Referrer-Policy", "same-origin"),
    ("X-Frame-Options", "DENY"),
    *PROBE_HEADERS,
)


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, whoever serves it."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """What a probe was asked for, and whether by staff."""

    accept: str = ""
    staff: bool = False
    liveness: Callable[[], Liveness] | None = field(default=None)


def timestamp(at: float | None = None) -> str:
    """Write a moment as every artifact does: UTC, microseconds, Z."""
    moment = datetime.now(UTC) if at is None else datetime.fromtimestamp(at, UTC)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _headers(status: int) -> tuple[tuple[str, str], ...]:
    return PROBE_HEADERS_503 if status == 503 else PROBE_HEADERS


def _json(status: int, body: dict[str, Any], content_type: str = JSON) -> Answer:
    return Answer(status, json.dumps(body).encode(), content_type, _headers(status))


def own_liveness() -> Liveness:
    """Judge this process: its memory and its own heartbeat."""
    pulse, now_ns = own_pulse(), time.monotonic_ns()
    age = None
    if pulse is not None and pulse.slot.identity.pid == os.getpid():
        age = (now_ns - pulse.slot.heartbeat_ns) / 1e9
    return judge_live(
        rss=pulse.rss if pulse else resident_bytes(),
        max_rss=memory_limit(settings.LIVE_MAX_RSS),
        slot_age=age,
        stale_after=SLOT_FRESH_SECONDS,
    )


def readiness() -> tuple[Readiness, Snapshot | None]:
    """Judge the instance by the last snapshot."""
    snapshot = load_snapshot()
    verdict = judge_ready(
        snapshot,
        now=time.time(),
        now_ns=time.monotonic_ns(),
        draining=drain_file().exists(),
    )
    return verdict, snapshot


def initialized() -> dict[str, bool]:
    """Judge the start of this boot, and remember when it was complete."""
    done = judge_startup(
        load_snapshot(), now_ns=time.monotonic_ns(), latched=startup.is_latched()
    )
    if all(done.values()):
        startup.latch()
    return done


def answer_live(asked: Asked) -> Answer:
    """Answer GET /api/health/live."""
    verdict = (asked.liveness or own_liveness)()
    if not verdict.alive:
        details = verdict.details if asked.staff else {}
        return _json(
            503,
            {"status": "unhealthy", "reason": verdict.reason, "details": details},
        )
    body: dict[str, Any] = {"status": "alive", "timestamp": timestamp()}
    if asked.staff:
        body |= {"uptime": uptime(), "memory": memory(), "pid": os.getpid()}
    return _json(200, body)


def uptime() -> float:
    """Return the seconds since this process began."""
    return round((time.monotonic_ns() - _STARTED_NS) / 1e9, 3)


def memory() -> dict[str, int]:
    """Return this process's memory and what it may use."""
    return {
        "rss": resident_bytes(),
        "limit": memory_limit(settings.LIVE_MAX_RSS),
    }


def answer_ready(asked: Asked) -> Answer:
    """Answer GET /api/health/ready in the form that was asked for."""
    verdict, snapshot = readiness()
    status = 200 if verdict.ready else 503
    if HEALTH_JSON in asked.accept:
        return _json(status, health_json(verdict, snapshot, asked), HEALTH_JSON)
    if asked.accept.startswith("text/plain"):
        return Answer(status, _plain(verdict).encode(), TEXT, _headers(status))
    body: dict[str, Any] = {
        "ready": verdict.ready,
        "checks": {**verdict.checks, "timestamp": timestamp()},
        "lastHealthCheck": last_checks(snapshot),
    }
    if not verdict.ready:
        body["error"] = "; ".join(verdict.reasons) if asked.staff else NOT_READY
    if asked.staff:
        body["details"] = check_rows(snapshot)
        body["hold"] = _hold(snapshot.hold if snapshot else None)
    return _json(status, body)


def _plain(verdict: Readiness) -> str:
    lines = [f"ready: {'yes' if verdict.ready else 'no'}"]
    lines += [
        f"{name}: {'ok' if ok else 'fail'}" for name, ok in verdict.checks.items()
    ]
    return "\n".join(lines) + "\n"


def last_checks(snapshot: Snapshot | None) -> dict[str, dict[str, Any]]:
    """Say of each check when it was last looked at, as the original API does."""
    known = {check.name: check for check in snapshot.checks} if snapshot else {}
    names = dict.fromkeys(["db", "cache", "queue", *known])
    return {name: _last_check(known.get(name)) for name in names}


def _last_check(check: CheckResult | None) -> dict[str, Any]:
    if check is None:
        return {"status": "unknown", "lastCheck": None}
    healthy = check.state in {State.PASS, State.WARN}
    return {
        "status": "healthy" if healthy else "unhealthy",
        "lastCheck": int(check.at * 1000),
    }


def _hold(hold: Hold | None) -> dict[str, Any] | None:
    if hold is None:
        return None
    until = None if hold.until is None else timestamp(hold.until)
    return {"kind": hold.kind, "reason": hold.reason, "by": hold.by, "until": until}


def check_rows(snapshot: Snapshot | None) -> list[dict[str, Any]]:
    """Return each check with its detail, for staff."""
    now_ns = time.monotonic_ns()
    return [
        {
            "name": check.name,
            "state": check.state.value,
            "required": check.required,
            "since": timestamp(check.since),
            "age": round(check.age(now_ns), 1),
            "duration": round(check.duration, 4),
            "error": check.error,
        }
        for check in (snapshot.checks if snapshot else ())
    ]


def health_json(
    verdict: Readiness, snapshot: Snapshot | None, asked: Asked
) -> dict[str, Any]:
    """Return the body of application/health+json (draft 06)."""
    states = [check.state for check in (snapshot.checks if snapshot else ())]
    warn = verdict.ready and any(state is not State.PASS for state in states)
    body: dict[str, Any] = {
        "status": "fail" if not verdict.ready else "warn" if warn else "pass",
        "version": "1",
        "releaseId": settings.VERSION,
        "checks": {
            check.name: [
                {
                    "status": check.state.value,
                    "time": timestamp(check.at),
                    "observedValue": round(check.duration * 1000, 3),
                    "observedUnit": "ms",
                    **({"output": check.error} if asked.staff and check.error else {}),
                }
            ]
            for check in (snapshot.checks if snapshot else ())
        },
    }
    if not verdict.ready:
        body["output"] = "; ".join(verdict.reasons) if asked.staff else NOT_READY
    return body


def answer_startup(asked: Asked) -> Answer:
    """Answer GET /api/health/startup; name what is missing."""
    done = initialized()
    complete = all(done.values())
    body: dict[str, Any] = {
        "ready": complete,
        "initialized": {**done, "timestamp": timestamp()},
    }
    if not complete:
        snapshot = load_snapshot()
        missing = list((snapshot.missing_migrations or ()) if snapshot else ())
        body["missing"] = [name for name, there in done.items() if not there]
        body["error"] = _startup_error(body["missing"], missing, staff=asked.staff)
        if asked.staff:
            body["missingMigrations"] = missing
    return _json(200 if complete else 503, body)


def _startup_error(missing: list[str], migrations: list[str], *, staff: bool) -> str:
    if not staff:
        return NOT_STARTED
    words = [
        f"migrations ({', '.join(migrations[:10])})"
        if name == "migrations" and migrations
        else name
        for name in missing
    ]
    return f"Missing: {', '.join(words)}"


def answer_status(asked: Asked) -> Answer:
    """Answer GET /status as a page, or as JSON for whoever asks for that only."""
    context = status_context(asked)
    if JSON in asked.accept and "text/html" not in asked.accept:
        return _json(200, json.loads(json.dumps(context, default=_wire)))
    page = render_to_string("status.html", context)
    return Answer(200, page.encode(), HTML, SECURITY_HEADERS)


def answer_status_json(asked: Asked) -> Answer:
    """Answer /status on the probe port, where there are no pages."""
    return answer_status(Asked(JSON, asked.staff, asked.liveness))


def _wire(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
    raise TypeError(type(value).__name__)


def status_context(asked: Asked) -> dict[str, Any]:
    """Return what the status page shows; a stranger sees states and since when."""
    snapshot = load_snapshot()
    now_ns = time.monotonic_ns()
    rows = _status_rows(snapshot, asked)
    state, since = _overall(snapshot, rows)
    return {
        "state": state.value,
        "since": since,
        "now": datetime.now(UTC),
        "age": round(snapshot.age(now_ns), 1) if snapshot else None,
        "rows": rows,
        "staff": asked.staff,
        "checks": [
            {**row, "since": _moment(check.since)}
            for row, check in zip(
                check_rows(snapshot), snapshot.checks if snapshot else (), strict=True
            )
        ]
        if asked.staff
        else [],
        "version": settings.VERSION,
    }


def _moment(at: float | None) -> datetime | None:
    return None if at is None else datetime.fromtimestamp(at, UTC)


def _status_rows(snapshot: Snapshot | None, asked: Asked) -> list[dict[str, Any]]:
    said = {
        Probe.LIVE: (asked.liveness or own_liveness)().alive,
        Probe.READY: readiness()[0].ready,
        Probe.STARTUP: all(initialized().values()),
    }
    rows = [
        {
            "name": probe.value.capitalize(),
            "state": (State.PASS if well else State.FAIL).value,
            "since": _since(snapshot, probe, well=well),
        }
        for probe, well in said.items()
    ]
    for title, name in _BOOLEAN_ROWS:
        check = snapshot.check(name) if snapshot else None
        rows.append(
            {
                "name": title,
                "state": (check.state if check else State.UNKNOWN).value,
                "since": _moment(check.since) if check else None,
            }
        )
    return rows


def _since(snapshot: Snapshot | None, probe: Probe, *, well: bool) -> datetime | None:
    """Return since when, where the snapshot agrees with what is said now."""
    known = snapshot.probe(probe) if snapshot else None
    if known is None or (known.state is State.PASS) is not well:
        return None
    return _moment(known.since)


def _overall(
    snapshot: Snapshot | None, rows: list[dict[str, Any]]
) -> tuple[State, datetime | None]:
    if snapshot is None:
        return State.UNKNOWN, None
    probes, checks = rows[:3], snapshot.checks
    failing = [row for row in probes if row["state"] == State.FAIL.value]
    if failing:
        known = [row["since"] for row in failing if row["since"] is not None]
        return State.FAIL, min(known, default=None)
    unwell = [check.since for check in checks if check.state is not State.PASS]
    if unwell:
        return State.WARN, _moment(min(unwell))
    known = [row["since"] for row in probes if row["since"] is not None]
    return State.PASS, max(known, default=None)


ANSWERS: dict[str, Callable[[Asked], Answer]] = {
    "/api/health/live": answer_live,
    "/api/health/ready": answer_ready,
    "/api/health/startup": answer_startup,
    "/status": answer_status,
}
