"""Breakers in the console: one page of states and acts, one page a breaker."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from breakers import registry, services
from breakers.acts import ACTS, Act, ActForm, acts_for, trial_in
from breakers.errors import ActRefusedError, BreakerChangedError, UnknownBreakerError
from breakers.lanes import Moment, Span, openings, spans_of
from breakers.models import BreakerState
from breakers.options import make_options
from breakers.services import AUTO, BreakerFacts
from breakers.states import WORST_FIRST, CircuitState
from breakers.traffic import BUCKET, DAY, Calls, bucket_of, latest, series
from ledger.acts import LONGEST_REASON
from ledger.kinds import ArtifactType
from ledger.models import Artifact
from ledger.services import actor_of

if TYPE_CHECKING:
    AnyAdmin = admin.ModelAdmin[BreakerState]
else:
    AnyAdmin = admin.ModelAdmin

HOUR = timedelta(hours=1)
MOMENTS = 200
LAST_OPENS = 10
KINDS = (
    ArtifactType.BREAKER_TRIP,
    ArtifactType.BREAKER_RESET,
    ArtifactType.OVERRIDE,
)


@dataclass(frozen=True, slots=True)
class Line:
    """One breaker as a row."""

    facts: BreakerFacts
    since: datetime | None
    trial_in: float | None
    spans: list[Span]
    acts: list[Act]
    latest: Calls | None
    points: list[Calls | None]


@dataclass(frozen=True, slots=True)
class Chart:
    """The day of one breaker, five minutes a point, and its hours as numbers."""

    name: str
    points: list[Calls | None]
    most: float
    hours: list[tuple[datetime, datetime, Calls | None]]
    spans: list[Span]


@dataclass(frozen=True, slots=True)
class Opened:
    """The act whose form or review is open below its breaker."""

    name: str
    act: Act
    form: ActForm
    review: bool
    until: datetime | None = None
    changed: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """The act that was just done, and how to take it back."""

    artifact: Artifact
    name: str
    after: str
    until: datetime | None
    undo: str


@admin.register(BreakerState)
class BreakerAdmin(AnyAdmin):
    """The breakers' pages; nothing here is edited, only acted on."""

    def get_urls(self) -> list[URLPattern]:
        """Lead the list's stock address to the page of the breakers."""
        wrap = self.admin_site.admin_view
        stock = path("", wrap(self.to_page), name="breakers_breakerstate_changelist")
        return [stock]

    def site_urls(self) -> list[URLPattern]:
        """Return the pages, below the address of the app."""
        wrap = self.admin_site.admin_view
        own: list[tuple[str, Callable[..., HttpResponse], str]] = [
            ("", self.page, "breakers"),
            ("-/<str:name>/", self.detail, "breaker"),
            ("-/<str:name>/<str:slug>/", self.act, "breaker_act"),
        ]
        return [path(route, wrap(view), name=name) for route, view, name in own]

    def to_page(self, request: HttpRequest) -> HttpResponse:
        """Lead to the page of the breakers."""
        return HttpResponseRedirect(reverse("admin:breakers"))

    # -- Pages ---------------------------------------------------------------------
    def page(self, request: HttpRequest) -> HttpResponse:
        """Show every breaker, worst first, and the last opens."""
        self._check(request, "view_breakerstate")
        return self._render(request)

    def detail(self, request: HttpRequest, name: str) -> HttpResponse:
        """Show one breaker: a day, its options, its last opens and who tripped."""
        self._check(request, "view_breakerstate")
        facts = _facts(name, traffic=True)
        now = timezone.now()
        moments = [one for one in _moments(name) if one.breaker == name]
        context = self.admin_site.each_context(request) | {
            "title": name,
            "opts": self.opts,
            "now": now,
            "line": self._line(request, facts, moments, now),
            "chart": _chart(facts, spans_of(moments), now),
            "options": _options(name),
            "opens": openings(moments, now=now, most=LAST_OPENS),
        }
        return TemplateResponse(
            request, "admin/breakers/breakerstate/detail.html", context
        )

    def act(self, request: HttpRequest, name: str, slug: str) -> HttpResponse:
        """Ask, show what will happen, do it: each step is a page of its own."""
        act = ACTS.get(slug)
        if act is None:
            raise Http404("There is no such act.")
        self._check(request, "reset_breaker" if slug == "reset" else "override_breaker")
        facts = _facts(name)
        endless = _may(request.user, "override_breaker_without_end")
        form = partial(ActForm, act=act, endless=endless)
        if request.method != "POST":
            fresh = form(initial={"version": facts.version, **_asked(request)})
            return self._render(request, Opened(name, act, fresh, review=False))
        given = form(request.POST)
        until = given.until(timezone.now()) if given.is_valid() else None
        if not given.is_valid() or request.POST.get("step") == "back":
            return self._render(request, Opened(name, act, given, review=False))
        opened = Opened(name, act, given, review=True, until=until)
        if request.POST.get("step") != "do":
            return self._render(request, opened)
        return self._do(request, opened, endless=endless)

    def _do(
        self, request: HttpRequest, opened: Opened, *, endless: bool
    ) -> HttpResponse:
        told = opened.form.cleaned_data
        common = {
            "reason": told["reason"],
            "actor": actor_of(request.user),
            "event_id": told["key"],
            "if_version": told["version"],
        }
        try:
            if opened.act.slug == "reset":
                services.reset_breaker(opened.name, **common)
            else:
                services.override_breaker(
                    opened.name,
                    opened.act.slug,
                    until=opened.until,
                    endless=endless,
                    **common,
                )
        except BreakerChangedError as error:
            changed = replace(opened, review=False, changed=str(error))
            return self._render(request, changed, status=409)
        except ActRefusedError as error:
            field = error.field if error.field in opened.form.fields else None
            opened.form.add_error(field, error.message)
            return self._render(request, replace(opened, review=False))
        return HttpResponseRedirect(f"{reverse('admin:breakers')}?done={told['key']}")

    # -- What they show ------------------------------------------------------------
    def _render(
        self, request: HttpRequest, opened: Opened | None = None, status: int = 200
    ) -> HttpResponse:
        now = timezone.now()
        moments = _moments()
        by_name = defaultdict(list)
        for moment in moments:
            by_name[moment.breaker].append(moment)
        lines = [
            self._line(request, facts, by_name[facts.name], now)
            for facts in services.list_breakers(traffic=True)
        ]
        lines.sort(key=lambda line: WORST_FIRST.index(line.facts.state))
        context = self.admin_site.each_context(request) | {
            "title": "Breakers",
            "opts": self.opts,
            "now": now,
            "lines": lines,
            "opened": opened,
            **_touched(lines, opened, now),
            "opens": openings(moments, now=now, most=LAST_OPENS),
            "done": _done(request),
        }
        return TemplateResponse(
            request, "admin/breakers/breakerstate/page.html", context, status=status
        )

    def _line(
        self,
        request: HttpRequest,
        facts: BreakerFacts,
        moments: list[Moment],
        now: datetime,
    ) -> Line:
        held = facts.override.mode != AUTO
        since = facts.opened_at if facts.circuit_state != CircuitState.CLOSED else None
        if held:
            overrides = [m.at for m in moments if m.type == ArtifactType.OVERRIDE]
            since = max(overrides, default=None)
        user = request.user
        return Line(
            facts=facts,
            since=since,
            trial_in=trial_in(facts, now) if facts.state == CircuitState.OPEN else None,
            spans=spans_of(moments),
            acts=acts_for(
                facts,
                overrides=_may(user, "override_breaker"),
                resets=_may(user, "reset_breaker"),
            ),
            latest=latest(facts.traffic, now),
            points=series(facts.traffic, now=now, each=2 * BUCKET),
        )

    def _check(self, request: HttpRequest, permission: str) -> None:
        if not _may(request.user, permission):
            raise PermissionDenied


def _may(user: Any, permission: str) -> bool:
    """Ask the roles: one query for all of them, where has_perm() asks two."""
    if user.is_superuser:
        return True
    return f"breakers.{permission}" in user.get_group_permissions()


def _facts(name: str, *, traffic: bool = False) -> BreakerFacts:
    try:
        return services.get_breaker_row(name, traffic=traffic)
    except UnknownBreakerError as error:
        raise Http404(str(error)) from None


def _chart(facts: BreakerFacts, spans: list[Span], now: datetime) -> Chart:
    points = series(facts.traffic, now=now)
    start = bucket_of(now) - DAY
    hours = series(facts.traffic, now=now, each=HOUR)
    return Chart(
        name=facts.name,
        points=points,
        most=max((one.per_minute for one in points if one), default=0),
        hours=[
            (start + place * HOUR, start + (place + 1) * HOUR, calls)
            for place, calls in enumerate(hours)
        ],
        spans=spans,
    )


def _touched(
    lines: list[Line], opened: Opened | None, now: datetime
) -> dict[str, object]:
    """Return the chart of the breaker to be acted on, and how much it is called.

    One that is open is called no more: what counts is the rate before.
    """
    if opened is None or not opened.review:
        return {}
    line = next(line for line in lines if line.facts.name == opened.name)
    facts = line.facts
    before = facts.opened_at if facts.circuit_state != CircuitState.CLOSED else None
    return {
        "chart": _chart(facts, line.spans, now),
        "usual": latest(facts.traffic, before or now),
        "before": before,
    }


def _options(name: str) -> dict[str, Any]:
    local = registry.find_breaker(name)
    options = local.options if local else make_options(settings.BREAKERS.get(name, {}))
    return options.plain()


def _moments(name: str = "") -> list[Moment]:
    """Return the newest trips, resets and overrides, of all breakers or of one."""
    rows = Artifact.objects.with_sequence().filter(type__in=KINDS)
    if name:
        rows = rows.filter(subject=f"breaker:{name}")
    return [
        Moment(
            at=row.at,
            breaker=row.subject.removeprefix("breaker:"),
            type=row.type,
            details=row.details,
            pk=row.pk,
            sequence=row.sequence,
            node=row.node,
        )
        for row in rows.order_by("-id")[:MOMENTS]
    ]


def _done(request: HttpRequest) -> Done | None:
    """Return the act the address names; the artifact is all that is believed."""
    try:
        event = UUID(request.GET.get("done", ""))
    except ValueError:
        return None
    artifact = Artifact.objects.with_sequence().filter(event_id=event).first()
    if artifact is None or artifact.type not in KINDS:
        return None
    told = artifact.details
    until = datetime.fromisoformat(told["until"]) if told.get("until") else None
    after = str(told.get("after", ""))
    undo = AUTO if artifact.type == ArtifactType.OVERRIDE and after != AUTO else ""
    if after == AUTO:
        undo = str(told.get("before", ""))
    name = artifact.subject.removeprefix("breaker:")
    return Done(artifact, name, after, until, undo if undo in ACTS else "")


def _asked(request: HttpRequest) -> dict[str, str]:
    """Return what a link fills in beforehand: the reason of an undo."""
    reason = request.GET.get("reason", "")[:LONGEST_REASON]
    return {"reason": reason} if reason.isprintable() and reason else {}
