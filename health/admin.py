"""The instances, read only: what must not change has no change form."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from health.models import Instance


@admin.register(Instance)
class InstanceAdmin(admin.ModelAdmin[Instance]):
    """Role, version, last seen, live, ready and the hold of every instance."""

    list_display = (
        "instance",
        "role",
        "version",
        "is_live",
        "is_ready",
        "rss_mib",
        "slots_fresh",
        "seen",
        "held",
    )
    list_display_links = None
    list_filter = ("role", "hold")
    search_fields = ("name",)
    ordering = ("role", "name")
    actions = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Refuse: instances make their own rows."""
        return False

    def has_change_permission(
        self, request: HttpRequest, obj: Instance | None = None
    ) -> bool:
        """Refuse: an instance says what it says."""
        return False

    def has_delete_permission(
        self, request: HttpRequest, obj: Instance | None = None
    ) -> bool:
        """Refuse: a silent instance must stay visible."""
        return False

    @admin.display(description="Instance", ordering="name")
    def instance(self, row: Instance) -> SafeString:
        """Name the instance."""
        return format_html("<strong>{}</strong>", row.name)

    @admin.display(description="Live", ordering="live")
    def is_live(self, row: Instance) -> SafeString:
        """Show whether its workers tick."""
        return _state(well=row.live, why="")

    @admin.display(description="Ready", ordering="ready")
    def is_ready(self, row: Instance) -> SafeString:
        """Show whether it takes traffic, and why not."""
        return _state(well=row.ready, why="; ".join(_reasons(row)))

    @admin.display(description="RSS, MiB")
    def rss_mib(self, row: Instance) -> str:
        """Show its memory."""
        rss = row.detail.get("rss")
        return f"{rss / 2**20:.0f}" if rss else ""

    @admin.display(description="Slots fresh")
    def slots_fresh(self, row: Instance) -> str:
        """Show how many of its processes tick."""
        if "slots" not in row.detail:
            return ""
        return f"{row.detail.get('fresh', 0)} of {row.detail['slots']}"

    @admin.display(description="Seen", ordering="seen_at")
    def seen(self, row: Instance) -> str:
        """Show how long ago it was seen."""
        return ago(row.seen_at, timezone.now())

    @admin.display(description="Hold", ordering="hold")
    def held(self, row: Instance) -> SafeString | str:
        """Show the hold that is in force, its end and its reason."""
        if not row.is_held(timezone.now()):
            return ""
        until = f"until {row.hold_until:%H:%M}" if row.hold_until else "without end"
        return format_html(
            "<strong>{}</strong><br>{}, {}: “{}”",
            row.hold.upper(),
            until,
            row.hold_by or "command",
            row.hold_reason,
        )


def _reasons(row: Instance) -> list[str]:
    reasons: Any = row.detail.get("reasons", [])
    return [str(reason) for reason in reasons]


def _state(*, well: bool, why: str) -> SafeString:
    word = "ok" if well else "FAIL"
    name = "ok" if well else "fail"
    return format_html('<span class="state {}">{}</span> {}', name, word, why)


def ago(moment: datetime, now: datetime) -> str:
    """Return how long ago, in the largest unit that is not zero."""
    seconds = max(0, int((now - moment).total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
