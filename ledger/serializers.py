"""Wire names of the ledger API."""

from typing import Any

from rest_framework import serializers

from ledger.kinds import ArtifactType, Source

MAX_LIMIT = 1000
MAX_SEQUENCE = 2**63 - 1


# -- What every app's routes share -------------------------------------------------
class ErrorOut(serializers.Serializer[Any]):
    """An error of a documented route."""

    error = serializers.CharField()


class FieldErrorOut(serializers.Serializer[Any]):
    """What is wrong with one field."""

    field = serializers.CharField()
    message = serializers.CharField()


class ProblemOut(serializers.Serializer[Any]):
    """An error of our own routes (RFC 9457), with ``error`` beside ``detail``."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField()
    error = serializers.CharField()
    request_id = serializers.CharField(allow_blank=True)
    errors = FieldErrorOut(many=True)  # type: ignore[assignment]


def problems(*statuses: int) -> dict[Any, Any]:
    """Return how these errors are documented on our own routes."""
    return {(status, "application/problem+json"): ProblemOut for status in statuses}


class StrictIn(serializers.Serializer[Any]):
    """A query string in which everything is known and no NUL hides."""

    def to_internal_value(self, data: Any) -> Any:
        """Refuse parameters that are not declared."""
        unknown = sorted(set(data) - set(self.fields))
        if unknown:
            known = ", ".join(self.fields) or "none"
            say = f"unknown parameter; known are {known}"
            raise serializers.ValidationError({name: [say] for name in unknown})
        return super().to_internal_value(data)


# -- The ledger's own --------------------------------------------------------------
class ArtifactOut(serializers.Serializer[Any]):
    """An artifact as its stored bytes tell it; `sequence` is null while pending."""

    timestamp = serializers.CharField(help_text="UTC, microseconds, Z")
    type = serializers.CharField(source="fields.type")
    source = serializers.CharField(source="fields.source")  # type: ignore[assignment]
    subject = serializers.CharField(source="fields.subject", allow_blank=True)
    actor = serializers.CharField(allow_blank=True)
    details = serializers.JSONField()
    hash = serializers.CharField(source="hash_hex", help_text="SHA-256, hex")
    sequence = serializers.IntegerField(allow_null=True)
    id = serializers.UUIDField(source="fields.id", help_text="the event's id")
    node = serializers.CharField(source="fields.node")


class DocumentedArtifactsOut(serializers.Serializer[Any]):
    """The newest artifacts, oldest first."""

    total = serializers.IntegerField()
    artifacts = ArtifactOut(many=True)
    types = serializers.ListField(child=serializers.CharField())
    next = serializers.CharField(allow_null=True, help_text="cursor of older ones")


class ArtifactsIn(StrictIn):
    """What to look for among the artifacts."""

    type = serializers.ChoiceField(choices=[*ArtifactType], required=False)
    source = serializers.ChoiceField(  # type: ignore[assignment]
        choices=[*Source], required=False
    )
    subject = serializers.CharField(max_length=80, required=False)
    since = serializers.DateTimeField(required=False, help_text="from this time on")
    until = serializers.DateTimeField(required=False, help_text="before this time")
    after = serializers.IntegerField(
        min_value=-1,
        max_value=MAX_SEQUENCE,
        required=False,
        help_text="follow the ledger: entries after this sequence, in its order",
    )
    cursor = serializers.IntegerField(
        min_value=1, max_value=MAX_SEQUENCE, required=False
    )
    limit = serializers.IntegerField(min_value=1, max_value=MAX_LIMIT, default=100)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse two ways of paging at once."""
        if "after" in attrs and "cursor" in attrs:
            raise serializers.ValidationError(
                {"after": ["use either after or cursor, not both"]}
            )
        return attrs


class ArtifactsOut(serializers.Serializer[Any]):
    """A page of artifacts: newest first, or in sequence with `after`."""

    artifacts = ArtifactOut(many=True)
    next = serializers.URLField(allow_null=True)


class ProofOut(serializers.Serializer[Any]):
    """The RFC 6962 inclusion proof of one entry."""

    sequence = serializers.IntegerField()
    size = serializers.IntegerField()
    leafHash = serializers.CharField(source="leaf_hash")
    path = serializers.ListField(child=serializers.CharField())
    checkpoint = serializers.CharField(help_text="a C2SP checkpoint")


class ConsistencyIn(StrictIn):
    """Two sizes of the tree; the newest where `to` is left out."""

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Declare `from`, which Python cannot spell as an attribute."""
        size = {"min_value": 0, "max_value": MAX_SEQUENCE}
        return {
            "from": serializers.IntegerField(**size),  # type: ignore[arg-type]
            "to": serializers.IntegerField(required=False, **size),  # type: ignore[arg-type]
        }


class ConsistencyOut(serializers.Serializer[Any]):
    """The RFC 6962 consistency proof between two sizes."""

    path = serializers.ListField(child=serializers.CharField())
    checkpoint = serializers.CharField(help_text="a C2SP checkpoint")

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Put `from` and `to` in front."""
        return {
            "from": serializers.IntegerField(source="first"),
            "to": serializers.IntegerField(source="size"),
            **super().get_fields(),
        }


class VerifyOut(serializers.Serializer[Any]):
    """What the newest verification found, and what is anchored."""

    at = serializers.DateTimeField(allow_null=True)
    ok = serializers.BooleanField(allow_null=True)
    size = serializers.IntegerField(allow_null=True)
    root = serializers.CharField(allow_null=True)  # type: ignore[assignment]
    full = serializers.BooleanField(allow_null=True)
    seconds = serializers.FloatField(allow_null=True)
    firstBad = serializers.IntegerField(source="first_bad", allow_null=True)
    kind = serializers.CharField(allow_null=True)
    anchoredSize = serializers.IntegerField(source="anchored_size")
    anchoredAt = serializers.DateTimeField(source="anchored_at", allow_null=True)


class VerifyStartedOut(serializers.Serializer[Any]):
    """A verification was asked for; its result becomes the newest one."""

    id = serializers.UUIDField(help_text="the event id of the artifact to come")
    status = serializers.ChoiceField(choices=["queued", "done"])
