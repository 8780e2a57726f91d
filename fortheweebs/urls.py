"""Where each path leads. The probes and /status are answered ahead of Django."""

from csp.decorators import csp_update
from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from health.views import StatusView

handler400 = "fortheweebs.api.bad_request"
handler403 = "fortheweebs.api.forbidden"
handler404 = "fortheweebs.api.not_found"
handler500 = "fortheweebs.middleware.server_error"

urlpatterns = [
    path("", RedirectView.as_view(url="/status"), name="home"),
    path("status", StatusView.as_view(), name="status"),
    path("api/health/", include("health.urls")),
    path("api/ledger/", include("ledger.urls")),
    path("api/", include("breakers.urls")),
    path("api/bug-fixer/", include("bugfixer.urls")),
    path("api/schema", SpectacularAPIView.as_view(), name="schema"),
    path(
        "api/docs",
        # The stock template has an inline style, and its icons are data: images.
        csp_update({"img-src": ["'self'", "data:"]})(
            SpectacularSwaggerSplitView.as_view(
                url_name="schema", template_name="api/docs.html"
            )
        ),
        name="docs",
    ),
    path("admin/", admin.site.urls),
]
