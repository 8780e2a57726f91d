"""HTTP of the bug fixer: the documented routes, and three of our own to read."""

from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.db.models import prefetch_related_objects
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import NotFound, ParseError, ValidationError
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.views import APIView

from bugfixer import serializers, services
from bugfixer.errors import UnknownReportError
from bugfixer.models import Bug, Report, Screenshot
from bugfixer.parsers import (
    REPORT_LIMIT,
    CleanJSONParser,
    TooLargeError,
    clean_text,
    too_large,
)
from bugfixer.permissions import (
    ANALYZE,
    PAYLOAD,
    RESOLVE,
    NeedsPermission,
    sees_payload,
)
from bugfixer.rows import row_by_report, row_of_taken, rows_of_bugs
from ledger.serializers import StrictIn, problems
from ledger.services import actor_of

LIST_LIMIT = 50
NEWEST_REPORTS = 20
DOCUMENTED = serializers.BugErrorOut
PROBLEM = problems(400, 401, 403, 404, 503)


class DocumentedView(APIView):
    """A documented route: errors are ``{"success": false, "error": sentence}``."""

    documented = True
    error_extra = {"success": False}
    parser_classes = [CleanJSONParser]
    body_size = 0

    def body(self, request: Request) -> dict[str, Any]:
        """Return the JSON object that was sent."""
        try:
            data = request.data
        except RequestDataTooBig:  # by Content-Length, before anything is read
            raise TooLargeError(too_large()) from None
        if not isinstance(data, dict):
            raise ParseError("The body must be a JSON object.")
        return data


class ReportView(DocumentedView):
    """Take a report from anybody."""

    # Nobody is looked up: a session would cost two queries and ask for a CSRF token.
    authentication_classes = []
    permission_classes = [AllowAny]
    throttle_scope = "report"

    @extend_schema(
        operation_id="bug_fixer_report",
        parameters=[
            OpenApiParameter(
                "Idempotency-Key",
                OpenApiTypes.STR,
                OpenApiParameter.HEADER,
                description="At most 64 characters; repeats are stored once.",
            )
        ],
        request=serializers.NewReportIn,
        responses={
            200: serializers.ReportTakenOut,
            **dict.fromkeys((400, 413, 415, 429, 503), DOCUMENTED),
        },
        auth=[],
    )
    def post(self, request: Request) -> Response:
        """Store a report once, scrubbed, and say under which number."""
        body = self.body(request)
        if not all(_is_there(body.get(name)) for name in serializers.REQUIRED):
            raise ParseError(serializers.MISSING)
        self._check_size(body)
        report = serializers.NewReportIn(data=body)
        report.is_valid(raise_exception=True)
        taken = services.report_bug(report.submission(_idempotency_key(request)))
        answer = {
            "success": True,
            "reportId": taken.report.report_id,
            "message": "Bug report submitted successfully",
            "data": row_of_taken(taken),
        }
        return Response(serializers.ReportTakenOut(answer).data)

    def _check_size(self, body: dict[str, Any]) -> None:
        picture = body.get("screenshotData")
        size = self.body_size - (len(picture) if isinstance(picture, str) else 0)
        if size > REPORT_LIMIT:
            message = (
                f"The report is larger than {REPORT_LIMIT:,} bytes"
                " without its screenshot."
            )
            raise TooLargeError(message)


def _is_there(value: Any) -> bool:
    """Tell a given value from one that is missing, null, empty or blank."""
    return bool(value.strip() if isinstance(value, str) else value)


def _idempotency_key(request: Request) -> str | None:
    key = clean_text(request.headers.get("Idempotency-Key", "").strip())
    if len(key) > 64:
        raise ValidationError({"Idempotency-Key": "At most 64 characters."})
    return key or None


def _find(report_id: str) -> Report:
    try:
        return services.find_report(report_id)
    except UnknownReportError:
        raise NotFound("Bug report not found") from None


def _text_or(value: str | None, otherwise: str) -> str:
    return value if value and value.strip() else otherwise


class ActView(DocumentedView):
    """An act on the bug of one report."""

    permission_classes = [NeedsPermission]

    def asked(
        self, request: Request, kind: type[Serializer[Any]]
    ) -> tuple[Report, dict[str, Any]]:
        """Return the report that was named and what else was said."""
        body = self.body(request)
        if not _is_there(body.get("reportId")):
            raise ParseError("Missing reportId")
        asked = kind(data=body)
        asked.is_valid(raise_exception=True)
        return _find(asked.validated_data["report_id"]), asked.validated_data


class AnalyzeView(ActView):
    """Say what is known about a bug, at once."""

    needs = ANALYZE

    @extend_schema(
        operation_id="bug_fixer_analyze",
        request=serializers.AnalyzeIn,
        responses={
            200: serializers.AnalyzeOut,
            **dict.fromkeys((400, 401, 403, 404, 413, 415, 503), DOCUMENTED),
        },
    )
    def post(self, request: Request) -> Response:
        """Answer with the best analysis there is, the offline one at least."""
        report, _ = self.asked(request, serializers.AnalyzeIn)
        analysis = services.analyze_bug(report=report, actor=actor_of(request.user))
        answer = {
            "success": True,
            "reportId": report.report_id,
            "analysis": analysis.text,
            "updatedReport": row_by_report(report, private=sees_payload(request.user)),
            "source": analysis.source,
            "confidence": analysis.result.get("confidence", 0.0),
        }
        return Response(serializers.AnalyzeOut(answer).data)


class ListView(DocumentedView):
    """List the bugs. Lenient, as documented: what cannot be read is ignored."""

    @extend_schema(
        operation_id="bug_fixer_list",
        parameters=[
            OpenApiParameter(name, OpenApiTypes.STR)
            for name in ("status", "severity", "userId", "limit")
        ],
        responses={
            200: serializers.ListOut,
            **dict.fromkeys((401, 403, 503), DOCUMENTED),
        },
    )
    def get(self, request: Request) -> Response:
        """Return one row per bug, the newest report first."""
        query = request.query_params.dict()
        asked = {key: clean_text(str(held)) for key, held in query.items()}
        bugs = Bug.objects.newest_first().with_first_report().with_uncounted()
        if status := asked.get("status"):
            bugs = bugs.with_wire_status(status)
        if severity := asked.get("severity"):
            bugs = bugs.filter(severity=severity)
        if user_id := asked.get("userId"):
            bugs = bugs.reported_by(user_id)
        page = bugs[: _lenient_limit(asked.get("limit", ""))]
        rows = rows_of_bugs(page, private=sees_payload(request.user))
        answer = {"success": True, "bugs": rows, "count": len(rows)}
        return Response(serializers.ListOut(answer).data)


def _lenient_limit(text: str) -> int:
    try:
        limit = int(text[:20])
    except ValueError:
        return LIST_LIMIT
    return min(limit, serializers.MAX_LIMIT) if limit > 0 else LIST_LIMIT


class ResolveView(ActView):
    """Close a bug."""

    needs = RESOLVE

    @extend_schema(
        operation_id="bug_fixer_resolve",
        request=serializers.ResolveIn,
        responses={
            200: serializers.ResolveOut,
            **dict.fromkeys((400, 401, 403, 404, 413, 415, 503), DOCUMENTED),
        },
    )
    def post(self, request: Request) -> Response:
        """Mark the bug of this report as fixed."""
        report, said = self.asked(request, serializers.ResolveIn)
        services.resolve_bug(
            bug=report.bug,
            notes=_text_or(said.get("notes"), "Manually resolved"),
            resolved_by=_text_or(said.get("resolved_by"), "admin"),
            actor=actor_of(request.user),
        )
        answer = {
            "success": True,
            "message": "Bug marked as resolved",
            "data": row_by_report(report, private=sees_payload(request.user)),
        }
        return Response(serializers.ResolveOut(answer).data)


class HealthView(DocumentedView):
    """Say that the bug fixer is there; no database, no login."""

    authentication_classes = []
    permission_classes = [AllowAny]

    @extend_schema(
        operation_id="bug_fixer_health",
        responses={200: serializers.BugFixerHealthOut},
        auth=[],
    )
    def get(self, request: Request) -> Response:
        """Name the documented endpoints."""
        answer = {
            "success": True,
            "status": "operational",
            "selfHealing": True,
            "endpoints": {
                "report": "POST /api/bug-fixer/report",
                "analyze": "POST /api/bug-fixer/analyze",
                "list": "GET /api/bug-fixer/list",
                "resolve": "POST /api/bug-fixer/resolve",
            },
        }
        return Response(serializers.BugFixerHealthOut(answer).data)


class BugsView(APIView):
    """Our own list of bugs: strict, paged by a cursor on the id."""

    @extend_schema(
        operation_id="bug_fixer_bugs",
        parameters=[serializers.BugsQuery],
        responses={(200, "application/json"): serializers.BugsOut, **PROBLEM},
    )
    def get(self, request: Request) -> Response:
        """Return a page of bugs, the newest bug first."""
        asked = _query(serializers.BugsQuery, request)
        bugs = _narrowed(asked).with_uncounted().order_by("-id")
        limit = asked["limit"]
        page = list(bugs[: limit + 1])
        last = page[limit - 1] if len(page) > limit else None
        answer = {
            "count": len(page[:limit]),
            "next": _next(request, last.pk) if last else None,
            "bugs": page[:limit],
        }
        return Response(serializers.BugsOut(answer).data)


def _query(kind: type[StrictIn], request: Request) -> dict[str, Any]:
    query = kind(data=request.query_params.dict())
    query.is_valid(raise_exception=True)
    return dict(query.validated_data)


def _narrowed(asked: dict[str, Any]) -> Any:
    names = {
        "status": "status",
        "severity": "severity",
        "component": "component",
        "system": "system",
        "search": "title__icontains",
        "since": "last_seen__gte",
        "until": "last_seen__lt",
        "cursor": "id__lt",
    }
    return Bug.objects.filter(
        **{names[key]: value for key, value in asked.items() if key in names}
    )


def _next(request: Request, last: int) -> str:
    query = request.query_params.copy()
    query["cursor"] = str(last)
    return request.build_absolute_uri(f"{request.path}?{query.urlencode()}")


class BugView(APIView):
    """One bug, to read."""

    @extend_schema(
        operation_id="bug_fixer_bug",
        responses={(200, "application/json"): serializers.BugDetailOut, **PROBLEM},
    )
    def get(self, request: Request, bug_id: int) -> Response:
        """Return a bug with its fingerprints, analyses and newest reports."""
        _query(serializers.NoQuery, request)
        bug = Bug.objects.with_uncounted().filter(pk=bug_id).first()
        if bug is None:
            raise NotFound(f"There is no bug {bug_id}.")
        prefetch_related_objects([bug], "fingerprints")
        answer = serializers.BugOut(bug).data | {
            "fingerprints": [row.value for row in bug.fingerprints.all()],
            "analyses": serializers.AnalysisOut(
                bug.analyses.best_first(), many=True
            ).data,
            "reports": serializers.ReportBriefOut(
                bug.reports.defer("payload").order_by("-id")[:NEWEST_REPORTS],
                many=True,
            ).data,
        }
        return Response(answer)


class ReportDetailView(APIView):
    """One report, to read."""

    @extend_schema(
        operation_id="bug_fixer_report_detail",
        responses={(200, "application/json"): serializers.ReportOut, **PROBLEM},
    )
    def get(self, request: Request, report_id: str) -> Response:
        """Return a report; private parts are null without the permission."""
        _query(serializers.NoQuery, request)
        report = _find(report_id)
        private = sees_payload(request.user)
        out = serializers.ReportOut(report, context={"private": private})
        return Response(out.data)


class ScreenshotView(APIView):
    """The picture of a report, as a download: never shown as part of our pages."""

    permission_classes = [NeedsPermission]
    needs = PAYLOAD

    @extend_schema(
        operation_id="bug_fixer_screenshot",
        responses={
            (200, kind): OpenApiTypes.BINARY
            for kind in ("image/png", "image/jpeg", "image/gif", "image/webp")
        }
        | PROBLEM,
    )
    def get(self, request: Request, report_id: str) -> HttpResponse:
        """Return the picture."""
        _query(serializers.NoQuery, request)
        report = _find(report_id)
        shot = Screenshot.objects.filter(report=report).first()
        if shot is None:
            raise NotFound("No screenshot came with this report.")
        ending = shot.content_type.removeprefix("image/")
        return HttpResponse(
            bytes(shot.data),
            content_type=shot.content_type,
            headers={
                "Content-Disposition": f'attachment; filename="{report.report_id}.{ending}"',
                "X-Content-Type-Options": "nosniff",
            },
        )
