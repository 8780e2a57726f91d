"""Routes of the health API; the edge answers the probes before they get here."""

from django.urls import URLPattern, path

from health.views import (
    HistoryView,
    LiveView,
    MetricsView,
    ReadyView,
    StartupView,
    SummaryView,
)
from ledger.views import DocumentedArtifacts

urlpatterns: list[URLPattern] = [
    path("live", LiveView.as_view(), name="live"),
    path("ready", ReadyView.as_view(), name="ready"),
    path("startup", StartupView.as_view(), name="startup"),
    path("health", SummaryView.as_view(), name="health"),
    path("artifacts", DocumentedArtifacts.as_view(), name="artifacts"),
    path("history", HistoryView.as_view(), name="history"),
    path("metrics", MetricsView.as_view(), name="metrics"),
]
