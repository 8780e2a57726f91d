"""Routes of the ledger API."""

from django.urls import URLPattern, path

from ledger import views

urlpatterns: list[URLPattern] = [
    path("artifacts", views.ArtifactsView.as_view(), name="ledger-artifacts"),
    path(
        "artifacts/<int:sequence>",
        views.ArtifactView.as_view(),
        name="ledger-artifact",
    ),
    path(
        "artifacts/<int:sequence>/proof",
        views.ProofView.as_view(),
        name="ledger-proof",
    ),
    path("checkpoint", views.CheckpointView.as_view(), name="ledger-checkpoint"),
    path("consistency", views.ConsistencyView.as_view(), name="ledger-consistency"),
    path("verify", views.VerifyView.as_view(), name="ledger-verify"),
]
