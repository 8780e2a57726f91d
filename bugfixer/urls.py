"""Routes of the bug fixer API; no trailing slashes, as documented."""

from django.urls import path

from bugfixer import views

app_name = "bugfixer"
urlpatterns = [
    path("report", views.ReportView.as_view(), name="report"),
    path("analyze", views.AnalyzeView.as_view(), name="analyze"),
    path("list", views.ListView.as_view(), name="list"),
    path("resolve", views.ResolveView.as_view(), name="resolve"),
    path("health", views.HealthView.as_view(), name="health"),
    path("bugs", views.BugsView.as_view(), name="bugs"),
    path("bugs/<int:bug_id>", views.BugView.as_view(), name="bug"),
    path(
        "reports/<str:report_id>",
        views.ReportDetailView.as_view(),
        name="report-detail",
    ),
    path(
        "reports/<str:report_id>/screenshot",
        views.ScreenshotView.as_view(),
        name="screenshot",
    ),
]
