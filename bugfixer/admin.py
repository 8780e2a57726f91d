"""Bugs in the console: a list and a page, to read; what changes them are acts."""

import re
from itertools import groupby
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, OuterRef, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.template.response import TemplateResponse

from bugfixer.frames import Frame, read_frames
from bugfixer.models import Bug, Report, Screenshot
from bugfixer.permissions import sees_payload

if TYPE_CHECKING:
    BugAdminBase = admin.ModelAdmin[Bug]
else:  # cannot be subscripted at run time
    BugAdminBase = admin.ModelAdmin

# Who reports a bug is counted in its newest reports: a hot bug has a million.
USERS_OF = 200
NEWEST = 20
NUMBER = re.compile("[0-9]{1,19}")  # Python refuses to read 4,300 digits


@admin.register(Bug)
class BugAdmin(BugAdminBase):
    """The triage list, and one bug with its stack, analyses and reports."""

    list_display = (
        "bug",
        "severity",
        "n_reports",
        "n_users",
        "release",
        "first_seen",
        "last_seen",
        "assigned",
        "analysis",
    )
    list_display_links = None
    list_filter = ("status", "severity")
    search_fields = ("title",)
    search_help_text = "Search titles"
    ordering = ("-last_seen", "-id")
    actions = None

    def get_queryset(self, request: HttpRequest) -> QuerySet[Bug]:
        """Fetch what the list shows with the page itself."""
        return Bug.objects.with_list_facts(users_of=USERS_OF)

    @admin.display(description="Bug", ordering="title")
    def bug(self, row: Bug) -> str:
        """Show the title, its state and where it fails."""
        return render_to_string("admin/bugfixer/bug/cell.html", {"bug": row})

    @admin.display(description="Reports")
    def n_reports(self, row: Bug) -> str:
        """Count all reports, those too that the sweep has still to count."""
        return f"{row.total:,}"

    @admin.display(description="Users")
    def n_users(self, row: Any) -> str:
        """Count the users among the newest reports."""
        return f"{row.n_users:,}"

    @admin.display(description="Release")
    def release(self, row: Any) -> str:
        """Show the release of the newest report."""
        return row.release or ""

    @admin.display(description="Assigned")
    def assigned(self, row: Bug) -> str:
        """Name the assignee by number: a name is nobody's business here."""
        return f"user {row.assignee_id}" if row.assignee_id else "unassigned"

    @admin.display(description="Analysis")
    def analysis(self, row: Any) -> str:
        """Say who analysed it."""
        return row.analysed_by or "none"

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show the page of a bug; there is no form."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        number = int(object_id) if NUMBER.fullmatch(object_id) else 0
        bug = Bug.objects.with_uncounted().filter(pk=number).first()
        if bug is None:
            message = f"There is no bug {object_id[:40]}."
            raise Http404(message)
        context = {
            **self.admin_site.each_context(request),
            **bug_page(bug, private=sees_payload(request.user)),
            "title": bug.title,
            "opts": self.opts,
        }
        return TemplateResponse(request, "admin/bugfixer/bug/detail.html", context)


def bug_page(bug: Bug, *, private: bool) -> dict[str, Any]:
    """Return what the page of a bug shows."""
    shots = Screenshot.objects.filter(report=OuterRef("pk"))
    reports = list(
        Report.objects.filter(bug=bug)
        .defer("payload", "search")
        .annotate(has_screenshot=Exists(shots))
        .order_by("-id")[:NEWEST]
    )
    newest = reports[0] if reports else None
    content = newest.content if newest else {}
    frames = read_frames(content.get("error_stack", ""))
    return {
        "bug": bug,
        "reports": reports,
        "newest": newest,
        "content": content,
        "frames": folded(frames),
        "n_own": sum(frame.in_app for frame in frames),
        "n_frames": len(frames),
        "analyses": list(bug.analyses.best_first()),
        "fingerprints": list(bug.fingerprints.values_list("value", flat=True)),
        "private": private,
    }


def folded(frames: list[Frame]) -> list[tuple[bool, list[tuple[int, Frame]]]]:
    """Group neighbouring frames by whether they are the reporter's own, numbered."""
    numbered = enumerate(frames, start=1)
    groups = groupby(numbered, key=lambda pair: pair[1].in_app)
    return [(own, list(group)) for own, group in groups]
