"""What the Now page says: a verdict, tiles, and artifacts in words.

No request and no query here: facts come in, sentences go out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from breakers.services import AUTO, BreakerFacts
from breakers.states import CircuitState
from fortheweebs.tags import moment, span
from health.snapshot import CheckResult, Probe, Snapshot, State
from ledger.kinds import ArtifactType

SHAPES = {
    ArtifactType.RESTART: ("turn", ""),
    ArtifactType.DEGRADE: ("x", "fail"),
    ArtifactType.RECOVER: ("tick", "ok"),
    ArtifactType.BREAKER_TRIP: ("open", "fail"),
    ArtifactType.BREAKER_RESET: ("tick", "ok"),
    ArtifactType.WATCHDOG_INTENT: ("turn", ""),
    ArtifactType.WATCHDOG_OUTCOME: ("turn", ""),
    ArtifactType.WATCHDOG_REFUSED: ("slash", "warn"),
    ArtifactType.OVERRIDE: ("person", ""),
    ArtifactType.HOLD: ("person", ""),
    ArtifactType.ACCOUNT_CHANGE: ("person", ""),
    ArtifactType.LOGIN_LOCKED: ("lock", "warn"),
    ArtifactType.LEDGER_VERIFY: ("tick", "ok"),
    ArtifactType.RESTORE: ("turn", "warn"),
    ArtifactType.DEPLOY: ("up", ""),
}
# What follows the subject; a type without words of its own is said as it is spelled.
WORDS = {
    ArtifactType.RESTART: "restarted",
    ArtifactType.DEGRADE: "fails",
    ArtifactType.RECOVER: "passes again",
    ArtifactType.BREAKER_TRIP: "tripped",
    ArtifactType.BREAKER_RESET: "closed",
    ArtifactType.WATCHDOG_INTENT: "is about to be acted on by the watchdog",
    ArtifactType.WATCHDOG_OUTCOME: "was acted on by the watchdog",
    ArtifactType.WATCHDOG_REFUSED: "was left alone by the watchdog",
    ArtifactType.OVERRIDE: "overridden",
    ArtifactType.HOLD: "hold changed",
    ArtifactType.ACCOUNT_CHANGE: "account changed",
    ArtifactType.LOGIN_LOCKED: "login locked after wrong passwords",
    ArtifactType.LEDGER_VERIFY: "verified",
    ArtifactType.RESTORE: "restored from a backup",
    ArtifactType.DEPLOY: "deployed",
    ArtifactType.BUG_OPENED: "opened",
    ArtifactType.BUG_REGRESSED: "came back",
    ArtifactType.BUG_RESOLVED: "resolved",
    ArtifactType.BUG_IGNORED: "ignored",
    ArtifactType.BUG_MERGED: "merged",
    ArtifactType.BUG_ANALYZED: "analysed",
}
REASONS = ("reason", "error", "title", "outcome", "result", "message", "changed")
REASON_LENGTH = 120


@dataclass(frozen=True, slots=True)
class Line:
    """One artifact as a line: when, a shape, who, what, and where it is recorded."""

    at: datetime
    shape: str
    kind: str
    subject: str
    bug: int | None
    say: str
    artifact: int
    sequence: int | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The page's first sentence and one line of where."""

    state: str
    title: str
    where: tuple[str, ...]
    holds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verified:
    """The newest verification of the ledger in the last day."""

    at: datetime
    ok: bool
    words: str


@dataclass(frozen=True, slots=True)
class Tile:
    """One fact with its state and a note."""

    label: str
    state: str
    note: str


@dataclass(frozen=True, slots=True)
class Chip:
    """The state of everything in two words, on every page."""

    state: str
    since: datetime | None
    say: str
    say_since: str


def line(artifact: Any) -> Line:
    """Say one artifact; ``artifact`` has the ledger's columns, body and sequence."""
    shape, kind = SHAPES.get(artifact.type, ("bug", ""))
    if artifact.details.get("ok") is False:
        shape, kind = "x", "fail"
    subject, bug = _subject(artifact.subject)
    return Line(
        at=artifact.at,
        shape=shape,
        kind=kind,
        subject=subject,
        bug=bug,
        say=_sentence(artifact),
        artifact=artifact.pk,
        sequence=artifact.sequence,
    )


def _subject(subject: str) -> tuple[str, int | None]:
    kind, _, name = subject.partition(":")
    if kind == "bug" and name.isdigit():
        return f"Bug #{name}", int(name)
    if kind == "probe":
        return {"live": "Liveness", "ready": "Readiness"}.get(name, "Startup"), None
    if kind in {"check", "instance", "breaker"} and name:
        return name, None
    return subject.replace(":", " ").capitalize(), None


def _sentence(artifact: Any) -> str:
    details = artifact.details
    words = _words(artifact, details)
    by = person(artifact.actor)
    if by and by != "watchdog":
        words = f"{words} by {by}"
    for name in REASONS:
        value = details.get(name)
        if isinstance(value, list):
            value = ", ".join(map(str, value))
        if isinstance(value, str) and value:
            return f"{words}: {value[:REASON_LENGTH]}"
    return words


def _words(artifact: Any, details: dict[str, Any]) -> str:
    """Say what happened to the subject, before who did it and why."""
    kind = artifact.type
    words = WORDS.get(kind, str(kind).replace("_", " "))
    if kind == ArtifactType.DEGRADE:
        words = "is degraded" if details.get("to") == "warn" else words
        return f"{words} on {artifact.node}" if artifact.node else words
    if kind == ArtifactType.HOLD and "hold" in details:
        held = details["hold"]
        return f"held in {held}" if held else "released from its hold"
    if kind == ArtifactType.LEDGER_VERIFY and "ok" in details:
        return verified_words(details)
    if kind == ArtifactType.WATCHDOG_INTENT and details.get("action"):
        return f"is to get {details['action']} from the watchdog"
    if kind == ArtifactType.WATCHDOG_OUTCOME and details.get("action"):
        return f"got {details['action']} from the watchdog"
    return words


def verified_words(details: dict[str, Any]) -> str:
    """Say what a verification found."""
    if details.get("ok") is True:
        return f"verified whole, {details.get('size', 0):,} entries"
    place = details.get("first_bad")
    where = "" if place is None else f" at #{place:,}"
    return f"is broken: {details.get('kind') or 'unknown'}{where}"


def person(actor: str) -> str:
    """Say who by role and number; nobody for what the system did by itself."""
    kind, _, name = actor.partition(":")
    return f"user {name}" if kind == "user" and name else actor


def chip(state: str, since: datetime | None, now: datetime) -> Chip:
    """Say the state of everything in the header."""
    words = {"pass": "all pass", "warn": "degraded", "fail": "failing"}
    word = words.get(state, "unknown")
    if since is None:
        return Chip(state, since, word, word)
    lasting = span((now - since).total_seconds())
    return Chip(
        state=state,
        since=since,
        say=f"{word} {lasting}",
        say_since=f"{word} since {moment(since, now=now)}",
    )


def verdict(
    state: str,
    since: datetime | None,
    now: datetime,
    *,
    checks: Sequence[Any] = (),
    away: Sequence[str] = (),
    held: Sequence[str] = (),
    instances: int = 0,
    verified: Verified | None = None,
) -> Verdict:
    """Say what, how long and since when; then where."""
    word = {"pass": "All pass", "warn": "Degraded", "fail": "Failing"}.get(state)
    if word is None:
        title, where = "Unknown", ["Nothing was checked in the last 15 s."]
    else:
        title, where = word, []
        if since is not None:
            lasting = span((now - since).total_seconds())
            title = f"{word} {lasting}, since {moment(since, now=now)} UTC"
    if verified is not None and not verified.ok:
        where.append(f"The ledger {verified.words}.")
        if state != "fail":
            state = "fail"
            title = f"Ledger broken, found {moment(verified.at, now=now)} UTC"
    if away:
        be = "is" if instances == 1 else "are"
        where.append(
            f"{len(away)} of {instances} instances {be} not ready: {_list(away)}."
        )
    where += [
        breakers_words(check.error)
        if check.name == "breakers" and check.error
        else f"{check.name} {'fails' if check.state == 'fail' else 'is degraded'}"
        f"{f': {check.error}' if check.error else ''}.".replace("..", ".")
        for check in checks
        if check.state in {"fail", "warn"}
    ]
    if state == "pass" and not away:
        where.append("Nothing needs you.")
        if not held:
            where.append("No hold is in force.")
    return Verdict(state=state, title=title, where=tuple(where), holds=tuple(held))


def breakers_words(error: str) -> str:
    """Say which breakers refuse calls, of what the check says of them."""
    told = error.replace("_", "-").split(", ")
    first, *others = [one.replace(" ", " is ", 1) for one in told[:1]] + told[1:]
    return f"Breaker {', '.join([first, *others])}."


@dataclass(frozen=True, slots=True)
class BreakerLine:
    """One breaker: its state, since when and what comes next."""

    name: str
    state: str
    note: str


def breaker_line(facts: BreakerFacts, now: datetime) -> BreakerLine:
    """Say one breaker in a line."""
    held = facts.override
    if held.mode != AUTO:
        end = (
            "without end"
            if held.until is None
            else f"until {moment(held.until, now=now)}"
        )
        return BreakerLine(
            facts.name, facts.state, f"{end} by {person(held.by) or 'command'}"
        )
    since = facts.opened_at if facts.state != CircuitState.CLOSED else facts.updated_at
    lasting = span((now - since).total_seconds()) if since else ""
    note = lasting
    if facts.state == CircuitState.OPEN and facts.open_until is not None:
        left = max(0.0, (facts.open_until - now).total_seconds())
        note = f"{lasting}, trial in {span(left)}"
    elif facts.state == CircuitState.HALF_OPEN:
        note = f"{lasting}, trials decide"
    return BreakerLine(facts.name, facts.state, note)


def _list(names: Sequence[str], *, most: int = 5) -> str:
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def hold(name: str, kind: str, until: datetime | None, now: datetime) -> str:
    """Say a hold with its end."""
    end = "without end" if until is None else f"until {moment(until, now=now)}"
    return f"{name} {kind} {end}"


def left(until: datetime | None, now: datetime) -> str:
    """Say how long a hold still lasts."""
    if until is None:
        return "without end"
    return f"{span(max(0.0, (until - now).total_seconds()))} left"


def seen(at: datetime, now: datetime) -> str:
    """Say when something was last heard of."""
    return f"seen {span((now - at).total_seconds())} ago"


def probe_tile(
    label: str,
    snapshot: Snapshot | None,
    name: Probe,
    instances: Sequence[bool],
    now: datetime,
) -> Tile:
    """Say a probe: of all instances where they are known, else of this one."""
    known = snapshot.probe(name) if snapshot else None
    well = sum(instances)
    state = str(known.state) if known else "unknown"
    if instances and well < len(instances):
        state = "fail"
    notes = [f"{well} of {len(instances)}"] if instances else []
    if known is not None:
        since = datetime.fromtimestamp(known.since, UTC)
        notes.append(f"since {moment(since, now=now)}")
    return Tile(label, _shown(state), ", ".join(notes) or "not checked yet")


def check_tile(label: str, check: CheckResult | None, now: datetime) -> Tile:
    """Say a check with how long it took, or why it fails."""
    if check is None:
        return Tile(label, "unknown", "not checked yet")
    since = moment(datetime.fromtimestamp(check.since, UTC), now=now)
    if check.state is State.PASS:
        return Tile(label, "ok", f"answers in {check.duration * 1000:.0f} ms")
    note = f"since {since}" + (f": {check.error}" if check.error else "")
    return Tile(label, _shown(check.state), note)


def beat_tile(last: datetime | None, now: datetime, *, late_after: timedelta) -> Tile:
    """Say when the scheduler was last seen."""
    if last is None:
        return Tile("Beat", "unknown", "none was seen")
    state = "fail" if now - last > late_after else "ok"
    return Tile("Beat", state, seen(last, now))


def ledger_tile(
    newest: Sequence[int | None], verified: Verified | None, now: datetime
) -> Tile:
    """Say the ledger's size from its newest artifacts, and the last verification."""
    size = next((number + 1 for number in newest if number is not None), None)
    pending = sum(number is None for number in newest)
    notes = [f"{pending} pending" if size is None else f"{size:,} entries"]
    if verified is None:
        notes.append("not verified in 24 h")
        return Tile("Ledger", "pending" if size is None else "ok", ", ".join(notes))
    at = moment(verified.at, now=now)
    if not verified.ok:
        return Tile("Ledger", "fail", f"{verified.words}, found {at}")
    return Tile("Ledger", "ok", ", ".join([*notes, f"verified {at}"]))


def _shown(state: str) -> str:
    return "ok" if state == "pass" else str(state)
