"""What can be done with bugs: take a report, analyse, resolve, and the sweeps."""

import logging
import secrets
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from celery import current_app
from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import F
from django.db.models.functions import Greatest
from django.utils import timezone
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from bugfixer import hints, metrics
from bugfixer.errors import ClashingReportError, UnknownReportError
from bugfixer.intake import Prepared, Submission, prepare
from bugfixer.models import (
    Analysis,
    Bug,
    Fingerprint,
    Report,
    Screenshot,
    Status,
)
from ledger.services import ArtifactType, Source, record

logger = logging.getLogger(__name__)

SWEEP_LIMIT = 5000
ANALYZE_LIMIT = 100
PRUNE_LIMIT = 1000
DRAWS = 3


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a submission; a repeat carries the first report's number."""

    prepared: Prepared
    report: Report
    fingerprint: str
    repeated: bool


def report_bug(sent: Submission) -> Taken:
    """Store a report once and join it to its bug, all in one transaction.

    Raises:
        ClashingReportError: no free report number was drawn.
    """
    ready = prepare(sent)
    for _ in range(DRAWS):
        first = _first_with(ready.client_event_id)
        if first:
            return Taken(ready, first, _fingerprint_of(first), repeated=True)
        try:
            with transaction.atomic():
                report = _store(ready)
            metrics.reports.labels(ready.severity).inc()
            return Taken(ready, report, ready.fingerprint, repeated=False)
        except IntegrityError:
            # Somebody stored this client event, or drew this number, just before.
            logger.info("report_clash")
    raise ClashingReportError


def _first_with(client_event_id: str | None) -> Report | None:
    if client_event_id is None:
        return None
    return Report.objects.filter(client_event_id=client_event_id).first()


def _fingerprint_of(report: Report) -> str:
    value = report.content.get("fingerprint", "")
    return str(value)


def _store(ready: Prepared) -> Report:
    now = timezone.now()
    bug = _bug_of(ready, now)
    content = {**ready.content, "fingerprint": ready.fingerprint}
    # Only an insert: adding to the bug's row here fell to 0.07 of this rate when 16
    # clients reported one bug. The sweep counts.
    report = Report.objects.create(
        report_id=f"BUG-{int(now.timestamp() * 1000)}-{secrets.token_hex(4)}",
        bug=bug,
        client_event_id=ready.client_event_id,
        received_at=now,
        search=ready.search,
        payload=Report.pack(content),
        **ready.columns,
    )
    if ready.screenshot:
        Screenshot.objects.create(
            report=report,
            content_type=ready.screenshot.content_type,
            data=ready.screenshot.data,
        )
    return report


def _bug_of(ready: Prepared, now: datetime) -> Bug:
    """Return the bug of this fingerprint, opened or reopened by this report."""
    known = Fingerprint.objects.select_related("bug").filter(value=ready.fingerprint)
    found = known.first()
    if found is None:
        try:
            with transaction.atomic():
                return _open_bug(ready, now)
        except IntegrityError:
            found = known.get()  # another report opened it first
    if found.bug.status == Status.FIXED:
        _regress(found.bug, ready, now)
    return found.bug


def _open_bug(ready: Prepared, now: datetime) -> Bug:
    bug = Bug.objects.create(
        title=ready.title,
        error_type=ready.error_type,
        severity=ready.severity,
        component=ready.component,
        system=ready.system,
        first_seen=now,
        last_seen=now,
    )
    Fingerprint.objects.create(value=ready.fingerprint, bug=bug)
    _record(
        ArtifactType.BUG_OPENED,
        bug,
        at=now,
        severity=bug.severity,
        fingerprint=ready.fingerprint,
    )
    transaction.on_commit(_hint_analyze, robust=True)
    return bug


def _regress(bug: Bug, ready: Prepared, now: datetime) -> None:
    """Reopen a fixed bug; of several reports at once one does it and records it."""
    won = Bug.objects.filter(pk=bug.pk, status=Status.FIXED).update(
        status=Status.REGRESSED, regressed_at=now
    )
    if won:
        _record(
            ArtifactType.BUG_REGRESSED,
            bug,
            at=now,
            before=Status.FIXED,
            after=Status.REGRESSED,
            fingerprint=ready.fingerprint,
        )


def _record(kind: ArtifactType, bug: Bug, *, actor: str = "", **more: Any) -> None:
    """Record a transition: what and when, never who reported it or what it says."""
    record(type=kind, source=Source.BUGFIXER, subject=bug.subject, actor=actor, **more)


def _hint_analyze() -> None:
    """Wake the worker now; the sweep finds what this hint could not deliver."""
    try:
        current_app.send_task("bugfixer.tasks.analyze_wanted")
    except (OperationalError, RedisError, OSError) as error:
        logger.warning("hint_lost", extra={"error": type(error).__name__})


def find_report(report_id: str) -> Report:
    """Return the report of this number with its bug.

    Raises:
        UnknownReportError: there is none.
    """
    reports = Report.objects.select_related("bug")
    found = reports.filter(report_id=report_id.replace("\0", "")).first()
    if found is None:
        raise UnknownReportError(report_id)
    return found


def model_is_configured() -> bool:
    """Tell whether there is an AI model to ask."""
    return bool(settings.OPENAI_API_KEY and settings.OPENAI_MODEL)


@transaction.atomic
def analyze_bug(*, report: Report, actor: str) -> Analysis:
    """Return the best analysis there is, the offline one at least, at once.

    No caller waits for a model: where one is configured it is asked for, and a worker
    takes it from there.
    """
    bug = report.bug
    analysis = Analysis.objects.filter(bug=bug).best_first().first()
    if analysis is None:
        analysis = analyze_offline(bug=bug, report=report, actor=actor)
    if analysis.source == hints.SOURCE and model_is_configured():
        bug.analysis_wanted_at = timezone.now()
        bug.save(update_fields=["analysis_wanted_at"])
        transaction.on_commit(_hint_analyze, robust=True)
    return analysis


@transaction.atomic
def analyze_offline(*, bug: Bug, report: Report, actor: str) -> Analysis:
    """Store what can be said without a model, once for each text; record it."""
    message = report.content["error_message"]
    stack = report.content["error_stack"]
    with metrics.analysis_seconds.labels(hints.SOURCE).time():
        hint = hints.analyse(message=message, stack=stack)
    analysis, created = Analysis.objects.get_or_create(
        bug=bug,
        source=hints.SOURCE,
        prompt_version=hints.VERSION,
        input_hash=hints.input_hash(message=message, stack=stack),
        defaults={
            "result": hint.result(bug.severity),
            "text": hint.text,
            "created_at": timezone.now(),
        },
    )
    if created:
        _record(
            ArtifactType.BUG_ANALYZED,
            bug,
            actor=actor,
            by=hints.SOURCE,
            category=hint.category,
            analysis=analysis.pk,
        )
    return analysis


@transaction.atomic
def resolve_bug(*, bug: Bug, notes: str, resolved_by: str, actor: str) -> Bug:
    """Close a bug and record who closed it; a bug that is closed stays as it is."""
    won = (
        Bug.objects.filter(pk=bug.pk)
        .exclude(status=Status.FIXED)
        .update(
            status=Status.FIXED,
            resolution_notes=notes,
            resolved_by=resolved_by,
            resolved_at=timezone.now(),
            analysis_wanted_at=None,
        )
    )
    if won:
        _record(
            ArtifactType.BUG_RESOLVED,
            bug,
            actor=actor,
            before=bug.status,
            after=Status.FIXED,
        )
    bug.refresh_from_db()
    return bug


@transaction.atomic
def count_reports(limit: int = SWEEP_LIMIT) -> int:
    """Add reports that came in to their bugs; return how many were taken.

    By their mark and not by a number read so far: that lost the reports which commit
    late, 21 % in one test.
    """
    skip = connection.features.has_select_for_update_skip_locked
    waiting = list(
        Report.objects.uncounted()
        .select_for_update(skip_locked=skip)
        .order_by("id")
        .values_list("id", "bug_id", "received_at")[:limit]
    )
    if not waiting:
        return 0
    Report.objects.filter(id__in=[row[0] for row in waiting]).update(counted=True)
    numbers = Counter(bug for _, bug, _ in waiting)
    newest: dict[int, datetime] = {}
    for _, bug, at in waiting:
        newest[bug] = max(at, newest.get(bug, at))
    # In the order of their ids: two sweeps in random order deadlocked.
    for bug in sorted(numbers):
        Bug.objects.filter(pk=bug).update(
            occurrences=F("occurrences") + numbers[bug],
            last_seen=Greatest("last_seen", newest[bug]),
        )
    return len(waiting)


def analyze_waiting(limit: int = ANALYZE_LIMIT) -> int:
    """Analyse new bugs and those somebody asked for; return how many."""
    recent = timezone.now() - timedelta(days=1)
    asked = Bug.objects.filter(analysis_wanted_at__isnull=False).order_by("id")
    bare = Bug.objects.alive().without_analysis().filter(last_seen__gte=recent)
    bugs = {bug.pk: bug for bug in [*asked[:limit], *bare.order_by("id")[:limit]]}
    for bug in bugs.values():
        _analyze_one(bug)
    return len(bugs)


@transaction.atomic
def _analyze_one(bug: Bug) -> None:
    report = bug.reports.order_by("id").first()
    if report and not bug.analyses.filter(source=hints.SOURCE).exists():
        analyze_offline(bug=bug, report=report, actor="")
    # Taken off even when there is nothing to say: no bug is "analyzing" for ever.
    Bug.objects.filter(pk=bug.pk, analysis_wanted_at=bug.analysis_wanted_at).update(
        analysis_wanted_at=None
    )


def prune_reports(limit: int = PRUNE_LIMIT) -> int:
    """Delete reports past their time; return how many.

    A bug keeps its first, last and regression report, without whose they were.
    """
    before = timezone.now() - timedelta(days=settings.RETENTION_DAYS)
    old = Report.objects.expendable(before=before).order_by("id")
    ids = list(old.values_list("id", flat=True)[:limit])
    with transaction.atomic():
        Report.objects.filter(id__in=ids).delete()
    return len(ids)


@transaction.atomic
def forget_old_reporters() -> int:
    """Take people out of the old reports that stay; return how many reports."""
    before = timezone.now() - timedelta(days=settings.RETENTION_DAYS)
    old = Report.objects.filter(received_at__lt=before)
    Screenshot.objects.filter(report__in=old).delete()
    return old.exclude(user_id="", user_email="").update(user_id="", user_email="")
