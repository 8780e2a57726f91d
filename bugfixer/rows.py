"""The row of the documented API: one bug by its first report, or one report."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from django.urls import reverse

from bugfixer.models import Analysis, Bug, Report, Screenshot
from bugfixer.services import Taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Every value of a row; names are those on the wire."""

    id: int | None
    report_id: str | None
    bug_id: int
    fingerprint: str
    occurrence_count: int
    error_message: str
    error_stack: str | None
    error_type: str
    severity: str
    user_id: str | None
    user_email: str | None
    page_url: str
    user_agent: str | None
    system: str | None
    component: str | None
    created_at: datetime
    updated_at: datetime
    release: str | None = None
    environment: str | None = None
    browser_info: dict[str, Any] | None = None
    additional_data: dict[str, Any] = field(default_factory=dict)
    screenshot_data: str | None = None
    screenshot_url: str | None = None
    ai_analysis: str | None = None
    suggested_fix: str | None = None
    fix_applied: bool = False
    fix_pr_url: str | None = None
    status: str = "open"
    resolution_notes: str | None = None
    resolved_by: str | None = None
    resolved_at: datetime | None = None


def _of_report(report: Report, **more: Any) -> Row:
    content = report.content
    return Row(
        id=report.pk,
        report_id=report.report_id,
        bug_id=report.bug_id,
        fingerprint=str(content.get("fingerprint", "")),
        error_message=content["error_message"],
        error_stack=content["error_stack"] or None,
        error_type=content["error_type"],
        user_id=report.user_id or None,
        user_email=report.user_email or None,
        page_url=report.page_url,
        user_agent=report.user_agent or None,
        browser_info=content["browser_info"] or None,
        additional_data=content["additional_data"],
        release=report.release or None,
        environment=report.environment or None,
        created_at=report.received_at,
        **more,
    )


def row_of_taken(taken: Taken) -> Row:
    """Return what the reporter gets: the words it sent, scrubbed, and the numbers.

    Nothing of the bug or of an earlier report: whoever guesses an id learns no more.
    """
    ready, stored = taken.prepared, taken.report
    echo = Report(
        pk=stored.pk,
        report_id=stored.report_id,
        bug_id=stored.bug_id,
        received_at=stored.received_at,
        payload=Report.pack({**ready.content, "fingerprint": taken.fingerprint}),
        **ready.columns,
    )
    return _of_report(
        echo,
        severity=ready.severity,
        system=ready.system or None,
        component=ready.component or None,
        occurrence_count=1,
        updated_at=stored.received_at,
    )


def row_of_bug(
    bug: Bug, report: Report, *, analysis: Analysis | None, has_screenshot: bool
) -> Row:
    """Return a bug's row, shown by one of its reports."""
    times = [
        report.received_at,
        bug.last_seen,
        bug.resolved_at,
        bug.regressed_at,
        analysis.created_at if analysis else None,
    ]
    return _of_report(
        report,
        severity=bug.severity,
        system=bug.system or None,
        component=bug.component or None,
        occurrence_count=bug.total,
        screenshot_url=(
            reverse("bugfixer:screenshot", args=[report.report_id])
            if has_screenshot
            else None
        ),
        ai_analysis=analysis.text if analysis else None,
        suggested_fix=analysis.result.get("suggested_fix") if analysis else None,
        status=bug.wire_status,
        resolution_notes=bug.resolution_notes or None,
        resolved_by=bug.resolved_by or None,
        resolved_at=bug.resolved_at,
        updated_at=max(time for time in times if time),
    )


def hide_payload(row: Row) -> Row:
    """Return the row as those see it who may not see raw payloads and addresses."""
    return replace(
        row,
        user_email=None,
        browser_info=None,
        additional_data={},
        screenshot_url=None,
    )


def row_by_report(report: Report, *, private: bool) -> Row:
    """Return the row of the bug as shown by this report."""
    bug = Bug.objects.with_uncounted().get(pk=report.bug_id)
    row = row_of_bug(
        bug,
        report,
        analysis=Analysis.objects.filter(bug=bug).best_first().first(),
        has_screenshot=Screenshot.objects.filter(report=report).exists(),
    )
    return row if private else hide_payload(row)


def rows_of_bugs(bugs: Iterable[Bug], *, private: bool) -> list[Row]:
    """Return the rows of a page of bugs, in four queries however many they are."""
    found = list(bugs)
    first = {bug.pk: getattr(bug, "first_report_id", None) for bug in found}
    reports = Report.objects.in_bulk([pk for pk in first.values() if pk])
    pictures = set(
        Screenshot.objects.filter(report__in=reports).values_list("pk", flat=True)
    )
    best: dict[int, Analysis] = {}
    for analysis in Analysis.objects.filter(bug__in=found).best_first():
        best.setdefault(analysis.bug_id, analysis)
    rows = [
        row_of_bug(
            bug,
            reports[pk],
            analysis=best.get(bug.pk),
            has_screenshot=pk in pictures,
        )
        for bug in found
        if (pk := first[bug.pk]) in reports and pk is not None
    ]
    return rows if private else [hide_payload(row) for row in rows]
