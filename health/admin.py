"""The instances; the console draws their states and times, and lets nobody write."""

from django.contrib import admin
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
        "live",
        "ready",
        "rss_mib",
        "slots_fresh",
        "seen_at",
        "hold",
    )
    list_display_links = None
    list_filter = ("role", "hold")
    search_fields = ("name",)
    ordering = ("role", "name")
    actions = None

    @admin.display(description="Instance", ordering="name")
    def instance(self, row: Instance) -> SafeString:
        """Name the instance."""
        return format_html("<strong>{}</strong>", row.name)

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
