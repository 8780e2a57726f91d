"""Bugs own the status; reports are the submissions; fingerprints join them."""

import json
import zlib
from datetime import datetime
from functools import cached_property
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import (
    Count,
    Exists,
    F,
    IntegerField,
    OuterRef,
    Q,
    Subquery,
    Value,
)
from django.db.models.fields.json import KT
from django.db.models.functions import Coalesce


class Severity(models.TextChoices):
    """How bad, worst first."""

    CRITICAL = "critical", "critical"
    HIGH = "high", "high"
    MEDIUM = "medium", "medium"
    LOW = "low", "low"


class Status(models.TextChoices):
    """Where a bug is; the documented API knows fewer words (see ``wire_status``)."""

    OPEN = "open", "open"
    TRIAGED = "triaged", "triaged"
    REGRESSED = "regressed", "regressed"
    FIXED = "fixed", "fixed"
    IGNORED = "ignored", "ignored"
    DUPLICATE = "duplicate", "duplicate"


ALIVE = (Status.OPEN, Status.TRIAGED, Status.REGRESSED)


def _newest(queryset: models.QuerySet[Any], field: str) -> Subquery:
    return Subquery(queryset.filter(bug=OuterRef("pk")).values(field)[:1])


class BugQuerySet(models.QuerySet["Bug"]):
    """Named reads of the bugs."""

    def alive(self) -> "BugQuerySet":
        """Return the bugs that wait for somebody."""
        return self.filter(status__in=ALIVE)

    def with_wire_status(self, status: str) -> "BugQuerySet":
        """Return the bugs that the documented API shows under this status."""
        if status in {"open", "analyzing"}:
            waits = status == "analyzing"
            return self.alive().filter(analysis_wanted_at__isnull=not waits)
        if status in {Status.FIXED, Status.IGNORED}:
            return self.filter(status=status)
        return self.none()

    def reported_by(self, user_id: str) -> "BugQuerySet":
        """Return the bugs that this user reported."""
        return self.filter(
            pk__in=Report.objects.filter(user_id=user_id).values("bug_id")
        )

    def newest_first(self) -> "BugQuerySet":
        """Put the bug with the newest report first."""
        return self.order_by("-last_seen", "-id")

    def with_first_report(self) -> "BugQuerySet":
        """Add ``first_report_id``, the row of the first report."""
        return self.annotate(
            first_report_id=_newest(Report.objects.order_by("id"), "id")
        )

    def with_uncounted(self) -> "BugQuerySet":
        """Add ``uncounted``: reports that came in since the last sweep."""
        waiting = (
            Report.objects.filter(bug=OuterRef("pk"), counted=False)
            .order_by()
            .values("bug")
            .annotate(n=Count("pk"))
            .values("n")
        )
        return self.annotate(
            uncounted=Coalesce(Subquery(waiting), 0, output_field=IntegerField())
        )

    def with_list_facts(self, users_of: int) -> "BugQuerySet":
        """Add what the console's list shows, all in the one query of the page."""
        newest = (
            Report.objects.filter(bug=OuterRef(OuterRef("pk")))
            .order_by("-id")
            .values("pk")[:users_of]
        )
        users = (
            Report.objects.filter(pk__in=newest)
            .order_by()
            .values("bug")
            .annotate(n=Count("user_id", distinct=True, filter=~Q(user_id="")))
            .values("n")
        )
        return self.with_uncounted().annotate(
            n_users=Coalesce(Subquery(users), 0, output_field=IntegerField()),
            release=_newest(Report.objects.order_by("-id"), "release"),
            analysed_by=_newest(Analysis.objects.best_first(), "source"),
            place=_newest(
                Analysis.objects.best_first().annotate(frame=KT("result__frame")),
                "frame",
            ),
        )

    def counts(self) -> dict[tuple[str, str], int]:
        """Return how many there are of each status and severity."""
        rows = self.order_by().values_list("status", "severity").annotate(Count("pk"))
        return {(status, severity): number for status, severity, number in rows}

    def without_analysis(self) -> "BugQuerySet":
        """Return the bugs nobody said anything about yet."""
        return self.filter(~Exists(Analysis.objects.filter(bug=OuterRef("pk"))))


class Bug(models.Model):
    """What belongs together: one fault, however often it is reported."""

    title = models.CharField(max_length=300)
    error_type = models.CharField(max_length=64, blank=True)
    severity = models.CharField(max_length=10, choices=Severity.choices)
    status = models.CharField(
        max_length=10, choices=Status.choices, default=Status.OPEN
    )
    component = models.CharField(max_length=100, blank=True)
    system = models.CharField(max_length=100, blank=True)
    first_seen = models.DateTimeField()
    last_seen = models.DateTimeField(db_index=True)
    occurrences = models.PositiveBigIntegerField(default=0)
    assignee = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        db_index=False,
    )
    merged_into = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.SET_NULL, db_index=False
    )
    muted_until = models.DateTimeField(null=True, blank=True)
    muted_count = models.PositiveIntegerField(null=True, blank=True)
    regressed_at = models.DateTimeField(null=True, blank=True)
    fixed_in = models.CharField(max_length=200, blank=True)
    resolution_notes = models.TextField(blank=True)
    resolved_by = models.CharField(max_length=100, blank=True)
    resolved_at = models.DateTimeField(null=True, blank=True)
    analysis_wanted_at = models.DateTimeField(null=True, blank=True, db_index=True)
    analysis_lease_until = models.DateTimeField(null=True, blank=True)

    objects = BugQuerySet.as_manager()

    class Meta:
        default_permissions = ("view",)
        permissions = [
            ("triage_bug", "Can triage a bug"),
            ("analyze_bug", "Can have a bug analysed"),
            ("resolve_bug", "Can resolve a bug"),
        ]
        indexes = [
            models.Index(
                "status", "severity", F("last_seen").desc(), name="bugfixer_bug_triage"
            )
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def subject(self) -> str:
        """Return how artifacts name this bug."""
        return f"bug:{self.pk}"

    @property
    def wire_status(self) -> str:
        """Return the status in the words of the documented API."""
        if self.status in {Status.FIXED, Status.IGNORED}:
            return str(self.status)
        return "open" if self.analysis_wanted_at is None else "analyzing"

    @property
    def total(self) -> int:
        """Return the reports counted plus those the sweep has still to count."""
        return self.occurrences + int(getattr(self, "uncounted", 0))


class Fingerprint(models.Model):
    """A value that joins reports to a bug; merging moves the row."""

    value = models.CharField(max_length=80, primary_key=True)
    bug = models.ForeignKey(Bug, on_delete=models.CASCADE, related_name="fingerprints")

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.value


class ReportQuerySet(models.QuerySet["Report"]):
    """Named reads of the reports."""

    def uncounted(self) -> "ReportQuerySet":
        """Return what the sweep has still to add to its bug."""
        return self.filter(counted=False)

    def expendable(self, *, before: datetime) -> "ReportQuerySet":
        """Return old reports that are not their bug's first, last or regression."""
        same = Report.objects.filter(bug=OuterRef("bug"))
        return (
            self.filter(received_at__lt=before, counted=True)
            .filter(Exists(same.filter(id__lt=OuterRef("id"))))
            .filter(Exists(same.filter(id__gt=OuterRef("id"))))
            .exclude(bug__regressed_at=F("received_at"))
        )


class Report(models.Model):
    """One submission: columns to find it by, and the scrubbed rest, compressed."""

    report_id = models.CharField(max_length=40, unique=True)
    bug = models.ForeignKey(
        Bug, on_delete=models.CASCADE, related_name="reports", db_index=False
    )
    client_event_id = models.CharField(
        max_length=64, unique=True, null=True, blank=True
    )
    received_at = models.DateTimeField(db_index=True)
    release = models.CharField(max_length=200, blank=True)
    environment = models.CharField(max_length=200, blank=True)
    page_url = models.TextField(blank=True)
    user_id = models.CharField(max_length=200, blank=True)
    user_email = models.CharField(max_length=320, blank=True, db_index=True)
    user_agent = models.CharField(max_length=1000, blank=True)
    search = models.TextField(blank=True)
    payload = models.BinaryField()
    counted = models.BooleanField(default=False)

    objects = ReportQuerySet.as_manager()

    class Meta:
        default_permissions = ("view",)
        permissions = [("view_payload", "Can see raw payloads and e-mail addresses")]
        indexes = [
            # Serves the foreign key too, and finds a bug's first and last report.
            models.Index(fields=["bug", "id"], name="bugfixer_report_bug"),
            models.Index(
                fields=["id"],
                name="bugfixer_report_uncounted",
                condition=Q(counted=False),
            ),
        ]

    def __str__(self) -> str:
        return self.report_id

    @cached_property
    def content(self) -> dict[str, Any]:
        """Return what was sent, scrubbed."""
        found: dict[str, Any] = json.loads(zlib.decompress(bytes(self.payload)))
        return found

    @staticmethod
    def pack(content: dict[str, Any]) -> bytes:
        """Return the bytes to store for a content."""
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        return zlib.compress(text.encode(), 6)


class Screenshot(models.Model):
    """The picture that came with a report, apart from it since it is large."""

    report = models.OneToOneField(
        Report, primary_key=True, on_delete=models.CASCADE, related_name="screenshot"
    )
    content_type = models.CharField(max_length=40)
    data = models.BinaryField()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"screenshot of report {self.report_id}"


class AnalysisQuerySet(models.QuerySet["Analysis"]):
    """Named reads of the analyses."""

    def best_first(self) -> "AnalysisQuerySet":
        """Put a model's answer before an offline one, the newest first."""
        offline = models.Case(
            models.When(source="offline", then=Value(1)), default=Value(0)
        )
        return self.filter(error="").order_by(offline, "-id")


class Analysis(models.Model):
    """What is said about a bug, by whom, from what and at what price."""

    bug = models.ForeignKey(Bug, on_delete=models.CASCADE, related_name="analyses")
    source = models.CharField(max_length=20)
    model = models.CharField(max_length=100, blank=True)
    prompt_version = models.CharField(max_length=40)
    input_hash = models.CharField(max_length=64)
    result = models.JSONField(default=dict)
    text = models.TextField(blank=True)
    tokens_in = models.PositiveIntegerField(default=0)
    tokens_out = models.PositiveIntegerField(default=0)
    cost_micros = models.PositiveBigIntegerField(default=0)
    latency_ms = models.PositiveIntegerField(default=0)
    error = models.CharField(max_length=200, blank=True)
    verdict = models.CharField(max_length=20, blank=True)
    feedback = models.JSONField(default=dict)
    created_at = models.DateTimeField()

    objects = AnalysisQuerySet.as_manager()

    class Meta:
        default_permissions = ("view",)
        verbose_name_plural = "analyses"
        constraints = [
            models.UniqueConstraint(
                fields=["bug", "input_hash", "prompt_version", "source"],
                name="bugfixer_analysis_once",
            )
        ]

    def __str__(self) -> str:
        return f"{self.source} analysis of bug {self.bug_id}"
