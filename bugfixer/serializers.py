"""How bugs and reports are spelled on the wire."""

import base64
import binascii
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from bugfixer.intake import Picture, Submission
from bugfixer.models import Severity, Status
from bugfixer.parsers import SCREENSHOT_LIMIT, TooLargeError
from ledger.serializers import ErrorOut, StrictIn

MAX_LIMIT = 1000
REQUIRED = ("errorMessage", "pageUrl", "severity")
MISSING = "Missing required fields: errorMessage, pageUrl, severity"
_PICTURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)


def picture_type(data: bytes) -> str:
    """Tell the type of a picture by its first bytes; empty when it is none we take."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for head, kind in _PICTURES if data.startswith(head)), "")


@extend_schema_field(OpenApiTypes.STR)
class PictureField(serializers.Field[Any, Any, Any, Any]):
    """A picture as base64, with or without ``data:image/png;base64,`` before it."""

    default_error_messages = {
        "type": "Must be a picture as base64 text.",
        "base64": "Must be base64.",
        "image": "Must be a PNG, JPEG, GIF or WebP picture.",
    }

    def to_internal_value(self, data: Any) -> Picture | None:
        """Return the picture; empty text is none."""
        if not isinstance(data, str):
            self.fail("type")
        text = data.partition(",")[2] if data.startswith("data:") else data
        if len(text) * 3 // 4 > SCREENSHOT_LIMIT + 2:
            message = f"screenshotData: larger than {SCREENSHOT_LIMIT:,} bytes."
            raise TooLargeError(message)
        try:
            raw = base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError):
            self.fail("base64")
        kind = picture_type(raw)
        if raw and not kind:
            self.fail("image")
        return Picture(kind, raw) if raw else None

    def to_representation(self, value: Any) -> None:
        """Never send a picture back in JSON."""


class _Text(serializers.CharField):
    """An optional text; null counts as absent."""

    def __init__(self, limit: int | None = None, **options: Any) -> None:
        super().__init__(
            max_length=limit,
            required=False,
            allow_null=True,
            allow_blank=True,
            trim_whitespace=False,
            **options,
        )


class _Object(serializers.DictField):
    """An optional JSON object; null counts as absent."""

    def __init__(self, **options: Any) -> None:
        super().__init__(required=False, allow_null=True, **options)


class NewReportIn(serializers.Serializer[Any]):
    """A report. Fields we do not know are kept in additional_data."""

    errorMessage = serializers.CharField(source="error_message", trim_whitespace=False)
    pageUrl = serializers.CharField(
        source="page_url", max_length=8192, trim_whitespace=False
    )
    severity = serializers.ChoiceField(choices=Severity.choices)
    errorStack = _Text(source="error_stack")
    errorType = _Text(64, source="error_type")
    userId = _Text(200, source="user_id")
    userEmail = _Text(320, source="user_email")
    userAgent = _Text(1000, source="user_agent")
    browserInfo = _Object(source="browser_info")
    screenshotData = PictureField(source="screenshot", required=False, allow_null=True)
    system = _Text(100)
    component = _Text(100)
    additionalData = _Object(source="additional_data")
    clientEventId = _Text(64, source="client_event_id")
    release = _Text(200)
    environment = _Text(200)

    def unknown(self) -> dict[str, Any]:
        """Return the fields we do not know: lineNumber and the like."""
        return {
            name: value
            for name, value in self.initial_data.items()
            if name not in self.fields
        }

    def submission(self, idempotency_key: str | None) -> Submission:
        """Return the checked report."""
        sent = {
            name: value
            for name, value in self.validated_data.items()
            if value not in (None, "")
        }
        more = {**self.unknown(), **sent.pop("additional_data", {})}
        key = sent.pop("client_event_id", None) or idempotency_key
        return Submission(**sent, additional_data=more, client_event_id=key)


class RowOut(serializers.Serializer[Any]):
    """One row of the documented API."""

    id = serializers.IntegerField()
    report_id = serializers.CharField()
    error_message = serializers.CharField()
    error_stack = serializers.CharField(allow_null=True)
    error_type = serializers.CharField()
    severity = serializers.ChoiceField(choices=Severity.choices)
    user_id = serializers.CharField(allow_null=True)
    user_email = serializers.CharField(allow_null=True)
    page_url = serializers.CharField()
    user_agent = serializers.CharField(allow_null=True)
    browser_info = serializers.DictField(allow_null=True)
    screenshot_data = serializers.CharField(allow_null=True)
    screenshot_url = serializers.CharField(allow_null=True)
    ai_analysis = serializers.CharField(allow_null=True)
    suggested_fix = serializers.CharField(allow_null=True)
    fix_applied = serializers.BooleanField()
    fix_pr_url = serializers.CharField(allow_null=True)
    status = serializers.ChoiceField(choices=["open", "analyzing", "fixed", "ignored"])
    resolution_notes = serializers.CharField(allow_null=True)
    resolved_by = serializers.CharField(allow_null=True)
    resolved_at = serializers.DateTimeField(allow_null=True)
    system = serializers.CharField(allow_null=True)
    component = serializers.CharField(allow_null=True)
    additional_data = serializers.DictField()
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    release = serializers.CharField(allow_null=True)
    environment = serializers.CharField(allow_null=True)
    fingerprint = serializers.CharField()
    bug_id = serializers.IntegerField()
    occurrence_count = serializers.IntegerField()


class ReportTakenOut(serializers.Serializer[Any]):
    """The answer to a report."""

    success = serializers.BooleanField()
    reportId = serializers.CharField()
    message = serializers.CharField()
    data = RowOut()  # type: ignore[assignment]


class AnalyzeIn(serializers.Serializer[Any]):
    """Which bug to analyse, by any of its reports."""

    reportId = serializers.CharField(source="report_id", max_length=40)


class AnalyzeOut(serializers.Serializer[Any]):
    """The analysis, and the row with it."""

    success = serializers.BooleanField()
    reportId = serializers.CharField()
    analysis = serializers.CharField()
    updatedReport = RowOut()
    source = serializers.CharField()  # type: ignore[assignment]
    confidence = serializers.FloatField()


class ListOut(serializers.Serializer[Any]):
    """Bugs, the newest first; ``count`` is the length of this page."""

    success = serializers.BooleanField()
    bugs = RowOut(many=True)
    count = serializers.IntegerField()


class ResolveIn(serializers.Serializer[Any]):
    """Which bug is mended, by any of its reports."""

    reportId = serializers.CharField(source="report_id", max_length=40)
    resolutionNotes = _Text(10000, source="notes")
    resolvedBy = _Text(100, source="resolved_by")


class ResolveOut(serializers.Serializer[Any]):
    """The row, now fixed."""

    success = serializers.BooleanField()
    message = serializers.CharField()
    data = RowOut()  # type: ignore[assignment]


class EndpointsOut(serializers.Serializer[Any]):
    """Where the four documented routes are."""

    report = serializers.CharField()
    analyze = serializers.CharField()
    list = serializers.CharField()
    resolve = serializers.CharField()


class BugFixerHealthOut(serializers.Serializer[Any]):
    """The bug fixer says that it is there."""

    success = serializers.BooleanField()
    status = serializers.CharField()
    selfHealing = serializers.BooleanField()
    endpoints = EndpointsOut()


class BugErrorOut(ErrorOut):
    """An error of a documented route."""

    success = serializers.BooleanField()


class BugsQuery(StrictIn):
    """How to narrow and page the bugs."""

    status = serializers.ChoiceField(choices=Status.choices, required=False)
    severity = serializers.ChoiceField(choices=Severity.choices, required=False)
    component = serializers.CharField(max_length=100, required=False)
    system = serializers.CharField(max_length=100, required=False)
    search = serializers.CharField(max_length=200, required=False)
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)
    limit = serializers.IntegerField(
        min_value=1, max_value=MAX_LIMIT, required=False, default=50
    )
    cursor = serializers.IntegerField(min_value=1, max_value=2**63 - 1, required=False)


class NoQuery(StrictIn):
    """No parameters at all."""


class BugOut(serializers.Serializer[Any]):
    """A bug in a list."""

    id = serializers.IntegerField()
    title = serializers.CharField()
    errorType = serializers.CharField(source="error_type")
    severity = serializers.CharField()
    status = serializers.CharField()
    component = serializers.CharField()
    system = serializers.CharField()
    firstSeen = serializers.DateTimeField(source="first_seen")
    lastSeen = serializers.DateTimeField(source="last_seen")
    occurrences = serializers.IntegerField(source="total")
    regressedAt = serializers.DateTimeField(source="regressed_at", allow_null=True)
    resolvedAt = serializers.DateTimeField(source="resolved_at", allow_null=True)
    resolvedBy = serializers.CharField(source="resolved_by")
    resolutionNotes = serializers.CharField(source="resolution_notes")
    analysisWantedAt = serializers.DateTimeField(
        source="analysis_wanted_at", allow_null=True
    )


class BugsOut(serializers.Serializer[Any]):
    """A page of bugs; ``next`` leads to the page after it."""

    count = serializers.IntegerField()
    next = serializers.URLField(allow_null=True)
    bugs = BugOut(many=True)


class AnalysisOut(serializers.Serializer[Any]):
    """What was said about a bug."""

    id = serializers.IntegerField()
    source = serializers.CharField()  # type: ignore[assignment]
    model = serializers.CharField()
    text = serializers.CharField()
    result = serializers.DictField()
    createdAt = serializers.DateTimeField(source="created_at")


class ReportBriefOut(serializers.Serializer[Any]):
    """A report beside its bug."""

    reportId = serializers.CharField(source="report_id")
    receivedAt = serializers.DateTimeField(source="received_at")
    release = serializers.CharField()
    environment = serializers.CharField()
    pageUrl = serializers.CharField(source="page_url")
    userAgent = serializers.CharField(source="user_agent")


class BugDetailOut(BugOut):
    """A bug with its fingerprints, analyses and newest reports."""

    fingerprints = serializers.ListField(child=serializers.CharField())
    analyses = AnalysisOut(many=True)
    reports = ReportBriefOut(many=True)


class ReportOut(ReportBriefOut):
    """A report; what is private is null for those who may not see it."""

    bugId = serializers.IntegerField(source="bug_id")
    userId = serializers.CharField(source="user_id")
    userEmail = serializers.SerializerMethodField(method_name="email")
    errorMessage = serializers.CharField(source="content.error_message")
    errorStack = serializers.CharField(source="content.error_stack")
    errorType = serializers.CharField(source="content.error_type")
    severity = serializers.CharField(source="content.severity")
    fingerprint = serializers.CharField(source="content.fingerprint")
    scrubbed = serializers.DictField(
        source="content.scrubbed", child=serializers.IntegerField()
    )
    payload = serializers.SerializerMethodField()

    def email(self, report: Any) -> str | None:
        """Return the address for those who may see it."""
        return str(report.user_email) if self.context["private"] else None

    def get_payload(self, report: Any) -> dict[str, Any] | None:
        """Return the raw parts for those who may see them."""
        if not self.context["private"]:
            return None
        names = ("browser_info", "additional_data")
        return {name: report.content[name] for name in names}
