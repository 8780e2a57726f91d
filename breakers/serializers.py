"""How breakers are spelled on the wire."""

from typing import Any

from rest_framework import serializers

from breakers.services import AUTO, MODES
from breakers.states import CircuitState
from ledger.acts import LONGEST_REASON, SHORTEST_REASON
from ledger.serializers import StrictIn

MAX_VERSION = 2**63 - 1


class OverrideOut(serializers.Serializer[Any]):
    """The override in force; mode ``auto`` is none."""

    mode = serializers.ChoiceField(choices=[*MODES, AUTO])
    reason = serializers.CharField(allow_blank=True)
    by = serializers.CharField(allow_blank=True, help_text="user:7, loopback or empty")
    until = serializers.DateTimeField(allow_null=True, help_text="null: without an end")


class BreakerOut(serializers.Serializer[Any]):
    """A breaker; ``state`` shows the override while there is one."""

    name = serializers.CharField()
    state = serializers.ChoiceField(choices=[*CircuitState])
    reason = serializers.CharField(allow_blank=True)
    failures = serializers.IntegerField(
        help_text="within the window, in the process that answers"
    )
    threshold = serializers.IntegerField(help_text="failures in a row that open it")
    openUntil = serializers.DateTimeField(source="open_until", allow_null=True)
    override = OverrideOut()
    version = serializers.IntegerField(help_text="grows with each change")
    trips = serializers.IntegerField()
    lastError = serializers.CharField(
        source="last_error", allow_blank=True, help_text="type and status, no message"
    )
    openedAt = serializers.DateTimeField(source="opened_at", allow_null=True)
    updatedAt = serializers.DateTimeField(source="updated_at", allow_null=True)


class BreakersOut(serializers.Serializer[Any]):
    """Every breaker that is known, by name."""

    count = serializers.IntegerField()
    breakers = BreakerOut(many=True)


class NoParameters(StrictIn):
    """Nothing."""


class ActIn(StrictIn):
    """What every act says."""

    reason = serializers.CharField(
        min_length=SHORTEST_REASON,
        max_length=LONGEST_REASON,
        help_text="why, for whoever finds it so",
    )
    version = serializers.IntegerField(
        min_value=0,
        max_value=MAX_VERSION,
        required=False,
        help_text="act only on this version; another one is 409",
    )


class OverrideIn(ActIn):
    """Hold a breaker in a mode, or end that with ``auto``."""

    mode = serializers.ChoiceField(choices=[*MODES, AUTO])
    expiresAt = serializers.DateTimeField(
        required=False,
        allow_null=True,
        help_text="at most 8 hours ahead; later or never only for admins",
    )


class ResetIn(ActIn):
    """Close a circuit, whatever it learned."""
