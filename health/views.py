"""The health API behind Django; the probes here say what the edge says."""

from django.conf import settings
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from health import history
from health.answers import (
    Answer,
    Asked,
    answer_live,
    answer_ready,
    answer_startup,
    answer_status,
)
from health.ask import ask
from health.edge import is_staff
from health.serializers import (
    HistoryIn,
    HistoryOut,
    LiveOut,
    ReadyOut,
    StartupOut,
    StatusOut,
    SummaryOut,
)
from ledger.serializers import problems

METRICS_SECONDS = 1.0


def as_response(answer: Answer) -> HttpResponse:
    """Turn an answer of the edge into Django's."""
    response = HttpResponse(
        answer.body, status=answer.status, content_type=answer.content_type
    )
    for name, value in answer.headers:
        response[name] = value
    return response


class ProbeView(APIView):
    """A probe as the edge answers it; open, and free of the database."""

    documented = True
    authentication_classes = []
    permission_classes = [AllowAny]

    def asked(self, request: Request) -> Asked:
        """Return what was asked, and whether by staff."""
        return Asked(
            accept=request.headers.get("Accept", ""), staff=is_staff(request.META)
        )


class LiveView(ProbeView):
    """GET /api/health/live."""

    @extend_schema(responses={200: LiveOut, 503: LiveOut})
    def get(self, request: Request) -> HttpResponse:
        """Tell whether this process is well; nothing outside it counts."""
        return as_response(answer_live(self.asked(request)))


class ReadyView(ProbeView):
    """GET /api/health/ready."""

    @extend_schema(responses={200: ReadyOut, 503: ReadyOut})
    def get(self, request: Request) -> HttpResponse:
        """Tell whether every required dependency is confirmed."""
        return as_response(answer_ready(self.asked(request)))


class StartupView(ProbeView):
    """GET /api/health/startup."""

    @extend_schema(responses={200: StartupOut, 503: StartupOut})
    def get(self, request: Request) -> HttpResponse:
        """Tell whether everything is initialised, and what is missing."""
        return as_response(answer_startup(self.asked(request)))


class StatusView(ProbeView):
    """GET /status."""

    @extend_schema(
        responses={
            (200, "application/json"): StatusOut,
            (200, "text/html"): OpenApiTypes.STR,
        }
    )
    def get(self, request: Request) -> HttpResponse:
        """Show the state of the service, as a page or as JSON."""
        return as_response(answer_status(self.asked(request)))


class SummaryView(APIView):
    """GET /api/health/health."""

    documented = True

    @extend_schema(responses={200: SummaryOut, 503: SummaryOut})
    def get(self, request: Request) -> Response:
        """Summarise the instance for staff."""
        summary = history.summarize()
        status = 503 if summary["status"] == "unhealthy" else 200
        return Response(summary, status=status)


class HistoryView(APIView):
    """GET /api/health/history."""

    @extend_schema(
        parameters=[HistoryIn],
        responses={
            (200, "application/json"): HistoryOut,
            **problems(400, 401, 403, 503),
        },
    )
    def get(self, request: Request) -> Response:
        """List the changes of the checks, oldest first."""
        asked = HistoryIn(data=request.query_params.dict())
        asked.is_valid(raise_exception=True)
        rows = history.changes(**asked.validated_data)
        return Response({"count": len(rows), "history": rows})


class MetricsView(APIView):
    """GET /api/health/metrics."""

    documented = True

    @extend_schema(
        responses={
            (200, "text/plain"): OpenApiTypes.STR,
            (503, "application/json"): OpenApiTypes.OBJECT,
        }
    )
    def get(self, request: Request) -> HttpResponse:
        """Return the text of the probe port, where the metrics are."""
        reply = ask(metrics_url(), seconds=METRICS_SECONDS)
        if reply is not None and reply.status == 200:
            return HttpResponse(reply.body, content_type=reply.content_type)
        body = {"error": "The probe port does not answer; try again."}
        return Response(body, status=503, headers={"Retry-After": "5"})


def metrics_url() -> str:
    """Return where the probe port answers, seen from this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(  # noqa: S104 - compared, not bound
        settings.PROBE_HOST, settings.PROBE_HOST
    )
    return f"http://{host}:{settings.PROBE_PORT}/metrics"
