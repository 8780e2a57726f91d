"""The ledger in the console: a list and a page a row, read only for everybody."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet, Subquery
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.views.decorators.http import require_POST
from kombu.exceptions import OperationalError

from ledger import merkle, services, tasks, tree
from ledger.errors import NotSequencedError
from ledger.export import export_lines
from ledger.kinds import ArtifactType, Source
from ledger.models import Anchor, Artifact, ArtifactQuerySet, Checkpoint

if TYPE_CHECKING:
    AnyAdmin = admin.ModelAdmin[Artifact]
else:
    AnyAdmin = admin.ModelAdmin

HEX = frozenset("0123456789abcdef")
SPANS = {"1h": ("Last hour", 1), "24h": ("Last 24 h", 24), "7d": ("Last 7 d", 168)}


class _Filter(admin.SimpleListFilter):
    """A menu of declared choices: nobody asks the table which values it has."""

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Any]
    ) -> QuerySet[Any] | None:
        """Keep the rows of the chosen value."""
        chosen = self.value()
        return queryset.filter(**{str(self.parameter_name): chosen}) if chosen else None


class TypeFilter(_Filter):
    """What happened."""

    title, parameter_name = "Type", "type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return every type there may be."""
        return [(kind, kind) for kind in ArtifactType]


class SourceFilter(_Filter):
    """Which part says so."""

    title, parameter_name = "Source", "source"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return every source there may be."""
        return [(source, source) for source in Source]


class NodeFilter(_Filter):
    """Where it was said: this instance, or the one the address names."""

    title, parameter_name = "Instance", "node"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return this node and the one asked for."""
        asked = request.GET.get(self.parameter_name, "")
        names = {settings.NODE_NAME, asked} - {""}
        return [(name, name) for name in sorted(names)]


class TimeFilter(_Filter):
    """How far back."""

    title, parameter_name = "Time", "within"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the spans."""
        return [(key, name) for key, (name, _) in SPANS.items()]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Any]
    ) -> QuerySet[Any] | None:
        """Keep what is younger than the chosen span."""
        chosen = SPANS.get(self.value() or "")
        if chosen is None:
            return None
        return queryset.filter(at__gte=datetime.now(UTC) - timedelta(hours=chosen[1]))


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a proof: the sibling, what it covers, and the hash of both."""

    number: int
    side: str
    first: int
    last: int
    sibling: str
    both: str


@admin.register(Artifact)
class ArtifactAdmin(AnyAdmin):
    """Artifacts, newest first; the state of each is computed when it is looked at."""

    list_display = (
        "at",
        "n_sequence",
        "type",
        "source",
        "subject",
        "shown_actor",
        "short_hash",
        "shown_state",
    )
    list_display_links = ("n_sequence",)
    list_filter = (TypeFilter, SourceFilter, NodeFilter, TimeFilter)
    search_fields = ("subject",)
    search_help_text = "#48190, 8+ hex, breaker:openai"
    ordering = ("-id",)
    sortable_by = ()
    actions = None

    # -- What is shown -------------------------------------------------------------
    def get_queryset(self, request: HttpRequest) -> ArtifactQuerySet:
        """Fetch leaf, newest anchor and newest checkpoint in the same query."""
        anchors = Anchor.objects.order_by("-id").values("checkpoint__size", "at")
        return Artifact.objects.with_sequence().annotate(
            anchored_size=Subquery(anchors.values("checkpoint__size")[:1]),
            anchored_at=Subquery(anchors.values("at")[:1]),
        )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Route by shape: a number is a sequence, hex a hash, else a subject."""
        term = search_term.strip().replace(",", "").replace("\0", "").lower()
        number = term.removeprefix("#")
        if not term:
            return queryset, False
        if number.isascii() and number.isdigit() and len(number) <= 18:
            placed = queryset.filter(leaf__sequence=int(number))
            # Eight digits or more may be the beginning of a hash as well.
            if len(term) < 8 or term != number or placed.exists():
                return placed, False
        if 8 <= len(term) <= 64 and set(term) <= HEX:
            return queryset.by_hash_prefix(term), False  # type: ignore[attr-defined]
        return queryset.filter(subject=search_term.strip().replace("\0", "")), False

    @admin.display(description="Sequence")
    def n_sequence(self, artifact: Artifact) -> str:
        """Return the place, or that there is none yet."""
        number = artifact.sequence
        return "none yet" if number is None else f"#{number:,}"

    @admin.display(description="Actor")
    def shown_actor(self, artifact: Artifact) -> str:
        """Return who did it."""
        return artifact.actor

    @admin.display(description="Hash")
    def short_hash(self, artifact: Artifact) -> str:
        """Return the first eight digits; all of them in the title."""
        full = artifact.hash_hex
        return format_html('<code title="{}">{}</code>', full, full[:8])

    @admin.display(description="State")
    def shown_state(self, artifact: Artifact) -> str:
        """Return the badge."""
        return render_to_string(
            "admin/ledger/artifact/state.html", {"word": state_of(artifact)}
        )

    # -- Pages ---------------------------------------------------------------------
    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the list under how the ledger stands."""
        now = services.state()
        context = {
            "now": now,
            "not_anchored": now.size - now.anchored_size,
            "last": now.size - 1,
            "may_verify": request.user.has_perm("ledger.verify_ledger"),
        }
        return super().changelist_view(request, context | (extra_context or {}))

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show one artifact with its bytes and its proof."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        artifact = self.get_object(request, object_id)
        if artifact is None:
            raise Http404("No such artifact.")
        context = self.admin_site.each_context(request) | _detail(artifact)
        context |= {"opts": self.opts, "original": artifact, "media": self.media}
        context |= extra_context or {}
        return render(request, "admin/ledger/artifact/detail.html", context)

    def get_urls(self) -> list[URLPattern]:
        """Add look-up by sequence, the export, and the act that verifies."""
        wrap = self.admin_site.admin_view
        own: list[tuple[str, Callable[..., HttpResponseBase], str]] = [
            ("sequence/<int:sequence>/", self.by_sequence, "ledger_sequence"),
            ("export/", self.export, "ledger_export"),
            ("verify/", require_POST(self.verify), "ledger_verify"),
        ]
        mine = [path(route, wrap(view), name=name) for route, view, name in own]
        return [*mine, *super().get_urls()]

    def by_sequence(self, request: HttpRequest, sequence: int) -> HttpResponse:
        """Lead to the page of a sequence."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        found = Artifact.objects.filter(leaf__sequence=min(sequence, 2**63 - 1))
        pk = found.values_list("pk", flat=True).first()
        if pk is None:
            raise Http404("The ledger has no such sequence.")
        return HttpResponseRedirect(reverse("admin:ledger_artifact_change", args=[pk]))

    def export(self, request: HttpRequest) -> StreamingHttpResponse:
        """Send the checkpoint and every entry it covers."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        response = StreamingHttpResponse(
            export_lines(), content_type="application/jsonl"
        )
        response["Content-Disposition"] = 'attachment; filename="export.jsonl"'
        return response

    def verify(self, request: HttpRequest) -> HttpResponse:
        """Queue a full verification."""
        if not request.user.has_perm("ledger.verify_ledger"):
            raise PermissionDenied
        actor = services.actor_of(request.user)
        try:
            tasks.verify.delay(full=True, actor=actor, event_id=str(uuid4()))
        except OperationalError:
            messages.error(request, "Nothing was started: the queue does not answer.")
        else:
            messages.success(request, "A full verification is queued.")
        return HttpResponseRedirect(reverse("admin:ledger_artifact_changelist"))


def state_of(artifact: Artifact) -> str:
    """Return the state of an artifact that carries its leaf and ``anchored_size``."""
    if not artifact.is_intact():
        return "mismatch"
    if artifact.sequence is None:
        return "pending"
    anchored = getattr(artifact, "anchored_size", None) or 0
    return "anchored" if artifact.sequence < anchored else "sequenced"


def _detail(artifact: Artifact) -> dict[str, Any]:
    checkpoint = Checkpoint.objects.order_by("-id").first()
    context: dict[str, Any] = {
        "artifact": artifact,
        "word": state_of(artifact),
        "checkpoint": checkpoint,
        "size": len(artifact.body.encode(errors="replace")),
        "title": str(artifact),
    }
    sequence = artifact.sequence
    if checkpoint is None or sequence is None or sequence >= checkpoint.size:
        return context
    try:
        _, path = tree.inclusion(sequence, checkpoint.size)
    except NotSequencedError:
        return context | {"no_proof": True}
    root = bytes(checkpoint.root)
    leaf = bytes(artifact.hash)
    return context | {
        "steps": _steps(sequence, checkpoint.size, leaf, path),
        "root": root.hex(),
        "proved": merkle.is_included(leaf, sequence, checkpoint.size, path, root),
        "path": " ".join(digest.hex() for digest in path),
        "previous": sequence - 1 if sequence else None,
        "following": sequence + 1 if sequence + 1 < checkpoint.size else None,
    }


def _steps(sequence: int, size: int, leaf: bytes, path: list[bytes]) -> list[Step]:
    steps, digest = [], leaf
    ranges = merkle.covered_ranges(sequence, size)
    for number, ((first, last), sibling) in enumerate(
        zip(ranges, path, strict=True), 1
    ):
        left = last < sequence
        pair = (sibling, digest) if left else (digest, sibling)
        digest = merkle.node_hash(*pair)
        side = "left" if left else "right"
        steps.append(Step(number, side, first, last, sibling.hex(), digest.hex()))
    return steps
