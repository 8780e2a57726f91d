"""The console: the stock admin site with our own pages."""

from django.contrib.admin import AdminSite


class ConsoleSite(AdminSite):
    """Admin site of the project."""

    site_header = site_title = "fortheweebs"
    enable_nav_sidebar = False
