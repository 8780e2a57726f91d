"""The Now page and the fragment it polls."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Case, TextField, Value, When
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.response import TemplateResponse
from django.views.decorators.cache import never_cache

from breakers.services import AUTO, BreakerFacts, list_breakers
from breakers.states import WORST_FIRST
from bugfixer.models import Bug, Report, Severity, Status
from fortheweebs import charts, now
from fortheweebs.access import list_url, may_view
from fortheweebs.columns import SEEN
from fortheweebs.now import Chip, Tile, Verdict, Verified
from fortheweebs.status import chip
from health.models import Instance
from health.snapshot import Probe, Snapshot
from health.snapshots import read_snapshot
from ledger.kinds import ArtifactType
from ledger.models import Artifact

RECENT = timedelta(minutes=30)
DAY = timedelta(hours=24)
RECENT_LINES = 12
HEALS = (
    ("Trips", ArtifactType.BREAKER_TRIP),
    ("Restarts", ArtifactType.RESTART),
    ("Recoveries", ArtifactType.RECOVER),
)
# A day with more is a storm; the newest 5,000 fill the chart.
HEALS_CAP = 5000
BUGS_CAP = 1000
TOP_BUGS = 3
WORST_BUGS_FIRST = Case(
    *(When(severity=kind, then=Value(place)) for place, kind in enumerate(Severity)),
    default=Value(len(Severity)),
)


@dataclass(frozen=True, slots=True)
class Heal:
    """One kind of healing in the last day, by the hour."""

    name: str
    hours: list[int]
    total: int
    label: str


@dataclass(frozen=True, slots=True)
class BugLine:
    """One of the worst open bugs."""

    id: int
    title: str
    severity: str
    note: str
    url: str
    hours: list[int]
    label: str


@dataclass(frozen=True, slots=True)
class Bugs:
    """The open bugs in three counts and the worst of them."""

    critical: str
    new: str
    regressed: str
    top: list[BugLine]


@dataclass(frozen=True, slots=True)
class InstanceLine:
    """One instance, or the well ones together."""

    name: str
    state: str
    hold: str
    note: str


def now_page(request: HttpRequest, context: dict[str, Any]) -> TemplateResponse:
    """Render Now with everything in it: the script only refreshes it."""
    context |= now_context(request, context["chip"])
    context["title"] = "Now"
    return TemplateResponse(request, "admin/index.html", context)


@never_cache
def now_fragment(request: HttpRequest) -> HttpResponse:
    """Render what changes on Now, or say that nothing did, in three queries."""
    newest = Artifact.objects.order_by("-id").values_list("id", flat=True).first()
    etag = _etag(request, newest or 0)
    if request.headers.get("If-None-Match") == etag:
        response = HttpResponse(status=304)
    else:
        context = now_context(request, chip()) | {"fragment": True}
        response = render(request, "console/now.html", context)
    response["ETag"] = etag
    return response


def _etag(request: HttpRequest, newest: int) -> str:
    """Name what the page shows: it changes with these, and once a minute."""
    snapshot = read_snapshot()
    states = (
        [(check.name, check.state, check.error) for check in snapshot.checks]
        + [(probe.name, probe.state, probe.error) for probe in snapshot.probes]
        if snapshot
        else []
    )
    minute = datetime.now(UTC).strftime("%d%H%M")
    parts = (request.user.pk, newest, minute, settings.VERSION, chip().state, states)
    return f'"{hashlib.sha256(repr(parts).encode()).hexdigest()[:20]}"'


def now_context(request: HttpRequest, mark: Chip) -> dict[str, Any]:
    """Read everything the Now page shows, at most eight queries with the user's."""
    at = datetime.now(UTC)
    snapshot = read_snapshot()
    links = page_links(request)
    artifacts = recent_artifacts()
    heals, verified = healing(at)
    user: Any = request.user
    sees = may_view(user, "health", "instance")
    instances = list(Instance.objects.recent(at)) if sees else []
    facts = odd_breakers(user, snapshot)
    return {
        "chip": mark,
        "at": at,
        "links": links,
        "verdict": _verdict(mark, at, snapshot, instances, facts, verified),
        "breakers": [
            now.breaker_line(one, at)
            for one in sorted(facts, key=lambda one: WORST_FIRST.index(one.state))
        ],
        "tiles": _tiles(at, snapshot, instances, artifacts, verified),
        "lines": [now.line(row) for row in artifacts if row.at >= at - RECENT],
        "heals": heals,
        "bugs": open_bugs(at, links) if may_view(user, "bugfixer", "bug") else None,
        "instances": instance_lines(instances, at),
        "n_instances": len(instances),
    }


@dataclass(frozen=True, slots=True)
class Links:
    """Where the lists are that this user may see; empty where not."""

    bugs: str
    artifacts: str
    instances: str


def page_links(request: HttpRequest) -> Links:
    """Return the lists this user may see."""
    names = (("bugfixer", "bug"), ("ledger", "artifact"), ("health", "instance"))
    return Links(*(list_url(request.user, *name) for name in names))


def recent_artifacts() -> list[Artifact]:
    """Return the newest artifacts, newest first."""
    rows = Artifact.objects.with_sequence().order_by("-id")
    return list(rows[:RECENT_LINES])


def healing(at: datetime) -> tuple[list[Heal], Verified | None]:
    """Count the last day's heals by the hour; return the last verification too."""
    kinds = [kind for _, kind in HEALS]
    verify = ArtifactType.LEDGER_VERIFY
    rows = (
        Artifact.objects.filter(at__gte=at - DAY, type__in=[*kinds, verify])
        # Only of verifications is more than the time wanted.
        .annotate(
            told=Case(
                When(type=verify, then="body"),
                default=Value(""),
                output_field=TextField(),
            )
        )
        .order_by("-at")
        .values_list("type", "at", "told")[:HEALS_CAP]
    )
    found: dict[str, list[datetime]] = {kind: [] for kind in kinds}
    verified = None
    for kind, moment, told in rows:
        if kind != verify:
            found[kind].append(moment)
        elif verified is None and "ok" in (details := Artifact(body=told).details):
            words = now.verified_words(details)
            verified = Verified(moment, details.get("ok") is True, words)
    return [_heal(name, found[kind], at) for name, kind in HEALS], verified


def _heal(name: str, moments: Iterable[datetime], at: datetime) -> Heal:
    hours = charts.per_hour(moments, now=at, hours=24)
    label = f"{name} by the hour, last 24 h: {sum(hours)}"
    return Heal(name=name, hours=hours, total=sum(hours), label=label)


def odd_breakers(user: Any, snapshot: Snapshot | None) -> list[BreakerFacts]:
    """Return all breakers when one is open or held; a quiet day asks nothing."""
    known = snapshot.check("breakers") if snapshot else None
    if known is None or not known.error:
        return []
    return list_breakers() if may_view(user, "breakers", "breakerstate") else []


def _verdict(
    mark: Chip,
    at: datetime,
    snapshot: Snapshot | None,
    instances: list[Instance],
    breakers: list[BreakerFacts],
    verified: Verified | None,
) -> Verdict:
    fresh = [row for row in instances if at - row.seen_at <= SEEN]
    held = [
        now.hold(row.name, row.hold, row.hold_until, at)
        for row in fresh
        if row.is_held(at)
    ]
    held += [
        now.hold(one.name, one.override.mode.replace("_", " "), one.override.until, at)
        for one in breakers
        if one.override.mode != AUTO
    ]
    return now.verdict(
        mark.state,
        mark.since,
        at,
        checks=snapshot.checks if snapshot else (),
        away=[row.name for row in fresh if not row.ready],
        held=held,
        instances=len(fresh),
        verified=verified,
    )


def _tiles(
    at: datetime,
    snapshot: Snapshot | None,
    instances: list[Instance],
    artifacts: list[Artifact],
    verified: Verified | None,
) -> list[Tile]:
    fresh = [row for row in instances if at - row.seen_at <= SEEN]
    beats = [row.seen_at for row in instances if row.role == "beat"]
    return [
        now.probe_tile("Live", snapshot, Probe.LIVE, [row.live for row in fresh], at),
        now.probe_tile(
            "Ready", snapshot, Probe.READY, [row.ready for row in fresh], at
        ),
        now.probe_tile("Startup", snapshot, Probe.STARTUP, [], at),
        now.check_tile("Queue", snapshot.check("queue") if snapshot else None, at),
        now.beat_tile(max(beats, default=None), at, late_after=SEEN),
        now.ledger_tile([row.sequence for row in artifacts], verified, at),
    ]


def instance_lines(instances: list[Instance], at: datetime) -> list[InstanceLine]:
    """Return the instances that are held, away or unwell; then the others as one."""
    odd, well = [], []
    for row in instances:
        late = at - row.seen_at > SEEN
        state = "unknown" if late else "ready" if row.ready else "not ready"
        held = row.is_held(at)
        if state == "ready" and not held:
            well.append(row)
            continue
        note = now.left(row.hold_until, at) if held else now.seen(row.seen_at, at)
        odd.append(InstanceLine(row.name, state, row.hold if held else "", note))
    if well:
        name = (
            well[0].name
            if len(well) == 1
            else f"{len(well)} {'others' if odd else 'of ' + str(len(well))}"
        )
        newest = max(row.seen_at for row in well)
        odd.append(InstanceLine(name, "ready", "", now.seen(newest, at)))
    return odd


def open_bugs(at: datetime, links: Links) -> Bugs:
    """Return the open bugs in counts, up to 1,000, and the worst with their day."""
    rows: list[Any] = list(
        Bug.objects.alive()
        .order_by(WORST_BUGS_FIRST, "-last_seen")
        .values("pk", "title", "severity", "status", "first_seen", "occurrences")[
            : BUGS_CAP + 1
        ]
    )
    more = "+" if len(rows) > BUGS_CAP else ""
    top = rows[:TOP_BUGS]
    hours = _report_hours([row["pk"] for row in top], at)

    def count(wanted: Callable[[dict[str, Any]], bool]) -> str:
        return f"{sum(map(wanted, rows)):,}{more}"

    return Bugs(
        critical=count(lambda row: row["severity"] == Severity.CRITICAL),
        new=count(lambda row: row["first_seen"] >= at - DAY),
        regressed=count(lambda row: row["status"] == Status.REGRESSED),
        top=[_bug_line(row, hours[row["pk"]], links) for row in top],
    )


def _report_hours(bugs: list[int], at: datetime) -> dict[int, list[int]]:
    moments: dict[int, list[datetime]] = {pk: [] for pk in bugs}
    rows = Report.objects.filter(bug__in=bugs, received_at__gte=at - DAY)
    for pk, moment in rows.values_list("bug_id", "received_at")[:HEALS_CAP]:
        moments[pk].append(moment)
    return {
        pk: charts.per_hour(found, now=at, hours=24) for pk, found in moments.items()
    }


def _bug_line(row: dict[str, Any], hours: list[int], links: Links) -> BugLine:
    reports = f"{row['occurrences']:,} report{'' if row['occurrences'] == 1 else 's'}"
    regressed = row["status"] == Status.REGRESSED
    return BugLine(
        id=row["pk"],
        title=row["title"],
        severity=row["severity"],
        note=f"regressed, {reports}" if regressed else reports,
        url=f"{links.bugs}{row['pk']}/change/" if links.bugs else "",
        hours=hours,
        label=f"Reports by the hour, last 24 h: {sum(hours)}",
    )
