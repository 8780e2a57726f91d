"""The wire names of the health API."""

from datetime import UTC, datetime
from typing import Any

from rest_framework import serializers

from ledger.serializers import StrictIn


class CheckBooleans(serializers.Serializer[Any]):
    """One boolean a check; further checks may be added."""

    db = serializers.BooleanField()
    cache = serializers.BooleanField()
    queue = serializers.BooleanField()
    timestamp = serializers.CharField()


class LastCheck(serializers.Serializer[Any]):
    """When a check was last looked at."""

    status = serializers.ChoiceField(choices=["healthy", "unhealthy", "unknown"])
    lastCheck = serializers.IntegerField(allow_null=True)


class LiveOut(serializers.Serializer[Any]):
    """The liveness answer."""

    status = serializers.ChoiceField(choices=["alive", "unhealthy"])
    timestamp = serializers.CharField(required=False)
    uptime = serializers.FloatField(required=False)
    memory = serializers.DictField(child=serializers.IntegerField(), required=False)
    pid = serializers.IntegerField(required=False)
    reason = serializers.CharField(required=False)
    details = serializers.DictField(required=False)


class ReadyOut(serializers.Serializer[Any]):
    """The readiness answer."""

    ready = serializers.BooleanField()
    checks = CheckBooleans()
    lastHealthCheck = serializers.DictField(child=LastCheck())
    error = serializers.CharField(required=False)


class StartupOut(serializers.Serializer[Any]):
    """The startup answer."""

    ready = serializers.BooleanField()
    initialized = serializers.DictField()
    missing = serializers.ListField(child=serializers.CharField(), required=False)
    error = serializers.CharField(required=False)


class StatusOut(serializers.Serializer[Any]):
    """What /status says as JSON."""

    state = serializers.ChoiceField(choices=["pass", "warn", "fail", "unknown"])
    since = serializers.CharField(allow_null=True)
    now = serializers.CharField()
    age = serializers.FloatField(allow_null=True)
    rows = serializers.ListField(child=serializers.DictField())
    staff = serializers.BooleanField()
    checks = serializers.ListField(child=serializers.DictField())
    version = serializers.CharField()


class RecentArtifacts(serializers.Serializer[Any]):
    """The artifacts in the summary."""

    count = serializers.IntegerField()
    recent = serializers.ListField(child=serializers.DictField())
    endpoint = serializers.CharField()


class SummaryOut(serializers.Serializer[Any]):
    """The health summary."""

    status = serializers.ChoiceField(choices=["operational", "degraded", "unhealthy"])
    liveness = serializers.CharField()
    readiness = serializers.CharField()
    startup = serializers.CharField()
    uptime = serializers.FloatField()
    memory = serializers.DictField(child=serializers.IntegerField())
    lastChecks = serializers.DictField(child=LastCheck())
    artifacts = RecentArtifacts()


class HistoryIn(StrictIn):
    """What the history may be asked for."""

    check = serializers.RegexField(
        r"^[a-z][a-z0-9_]{0,39}$", required=False, source="name"
    )
    since = serializers.DateTimeField(required=False)
    limit = serializers.IntegerField(min_value=1, max_value=1000, default=100)

    def validate_since(self, value: datetime) -> datetime:
        """Refuse the future: nothing has happened there."""
        if value > datetime.now(UTC):
            raise serializers.ValidationError("must not be in the future.")
        return value


class HistoryRow(serializers.Serializer[Any]):
    """One change of a check."""

    timestamp = serializers.CharField()
    check = serializers.CharField()
    type = serializers.ChoiceField(choices=["degrade", "recover"])
    to = serializers.CharField()
    reason = serializers.CharField()
    sequence = serializers.IntegerField(allow_null=True)


class HistoryOut(serializers.Serializer[Any]):
    """Changes of the checks, oldest first."""

    count = serializers.IntegerField()
    history = HistoryRow(many=True)
