"""HTTP of the breakers: look at them, override them, reset them."""

import json
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID, uuid5

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import (
    APIException,
    NotFound,
    ParseError,
    PermissionDenied,
    ValidationError,
)
from rest_framework.parsers import JSONParser
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from breakers import serializers, services
from breakers.errors import (
    ActRefusedError,
    BreakerChangedError,
    EndRefusedError,
    UnknownBreakerError,
)
from breakers.services import BreakerFacts
from ledger.serializers import problems
from ledger.services import actor_of

OVERRIDE = "breakers.override_breaker"
OVERRIDE_WITHOUT_END = "breakers.override_breaker_without_end"
RESET = "breakers.reset_breaker"
LONGEST_KEY = 64
_NAMESPACE = UUID("62726b72-0000-5000-8000-000000000002")
_WIRE = {"until": "expiresAt"}


_READ = problems(400, 401, 403, 503)
_ACT = problems(400, 401, 403, 404, 409, 415, 503)
_KEY = OpenApiParameter(
    "Idempotency-Key",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description="At most 64 characters; the same act again changes nothing.",
)


class ChangedMeanwhile(APIException):
    """The act was meant for an older version."""

    status_code = 409


class MayAct(BasePermission):
    """Let in the staff that holds the right the view names in ``needs``."""

    message = "Your role does not include this."

    def has_permission(self, request: Request, view: Any) -> bool:
        """Refuse who lacks the right."""
        return bool(request.user.has_perm(view.needs))


class PlainJSONParser(JSONParser):
    """JSON that can be said again: lone surrogates are replaced."""

    def parse(
        self,
        stream: Any,
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return the value, or refuse one that is nested too deeply."""
        try:
            value = super().parse(stream, media_type, parser_context)
            said = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
            return json.loads(said)
        except RecursionError:
            raise ParseError("The body is nested too deeply.") from None


class BreakersView(APIView):
    """Every breaker that is known."""

    @extend_schema(
        operation_id="breakers",
        responses={(200, "application/json"): serializers.BreakersOut, **_READ},
    )
    def get(self, request: Request) -> Response:
        """List the table's, the settings' and this process's breakers, by name."""
        _no_parameters(request)
        rows = services.list_breakers()
        answer = {"count": len(rows), "breakers": rows}
        return Response(serializers.BreakersOut(answer).data)


class BreakerView(APIView):
    """One breaker."""

    @extend_schema(
        operation_id="breaker",
        responses={
            (200, "application/json"): serializers.BreakerOut,
            **_READ,
            **problems(404),
        },
    )
    def get(self, request: Request, name: str) -> Response:
        """Return the breaker of this name."""
        _no_parameters(request)
        return _answer(lambda: services.get_breaker_row(name))


class ActView(APIView):
    """An act of an operator."""

    permission_classes = [*APIView.permission_classes, MayAct]
    parser_classes = [PlainJSONParser]
    needs = ""


class OverrideView(ActView):
    """Hold a breaker in a mode, or end that."""

    needs = OVERRIDE

    @extend_schema(
        operation_id="breaker_override",
        parameters=[_KEY],
        request=serializers.OverrideIn,
        responses={(200, "application/json"): serializers.BreakerOut, **_ACT},
    )
    def post(self, request: Request, name: str) -> Response:
        """Put the override in force for the whole fleet and record who did."""
        asked = _read(serializers.OverrideIn, request)
        return _answer(
            lambda: services.override_breaker(
                name,
                asked["mode"],
                reason=asked["reason"],
                until=asked.get("expiresAt"),
                actor=actor_of(request.user),
                endless=request.user.has_perm(OVERRIDE_WITHOUT_END),
                event_id=_event_id(request),
                if_version=asked.get("version"),
            )
        )


class ResetView(ActView):
    """Close a circuit."""

    needs = RESET

    @extend_schema(
        operation_id="breaker_reset",
        parameters=[_KEY],
        request=serializers.ResetIn,
        responses={(200, "application/json"): serializers.BreakerOut, **_ACT},
    )
    def post(self, request: Request, name: str) -> Response:
        """Close the circuit for the whole fleet and record who did."""
        asked = _read(serializers.ResetIn, request)
        return _answer(
            lambda: services.reset_breaker(
                name,
                reason=asked["reason"],
                actor=actor_of(request.user),
                event_id=_event_id(request),
                if_version=asked.get("version"),
            )
        )


def _answer(act: Callable[[], BreakerFacts]) -> Response:
    """Answer with the breaker, or with what speaks against it."""
    try:
        told = act()
    except UnknownBreakerError as error:
        raise NotFound(f"{error}.") from None
    except BreakerChangedError as error:
        raise ChangedMeanwhile(f"{error}.") from None
    except EndRefusedError as error:
        raise PermissionDenied(_named(error)) from None
    except ActRefusedError as error:
        raise ValidationError(_named(error)) from None
    return Response(serializers.BreakerOut(told).data)


def _named(error: ActRefusedError) -> dict[str, list[str]]:
    return {_WIRE.get(error.field, error.field): [f"{error.message}."]}


def _read(kind: type[serializers.ActIn], request: Request) -> dict[str, Any]:
    _no_parameters(request)
    if not isinstance(request.data, dict):
        raise ParseError("The body must be a JSON object.")
    asked = kind(data=request.data)
    asked.is_valid(raise_exception=True)
    return dict(asked.validated_data)


def _no_parameters(request: Request) -> None:
    query = serializers.NoParameters(data=request.query_params.dict())
    query.is_valid(raise_exception=True)


def _event_id(request: Request) -> UUID | None:
    """Return the id of the act that was named by its key."""
    key = request.headers.get("Idempotency-Key", "")
    if len(key) > LONGEST_KEY:
        say = f"is longer than {LONGEST_KEY} characters"
        raise ValidationError({"Idempotency-Key": [say]})
    named = f"{actor_of(request.user)}\n{key}\n{request.path}"
    return uuid5(_NAMESPACE, named) if key else None
