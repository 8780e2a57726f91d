"""HTTP of the ledger: the documented artifacts and our own strict routes."""

import contextlib
import math
from datetime import UTC
from typing import Any
from urllib.parse import urlencode
from uuid import UUID, uuid4, uuid5

from django.db.models import F
from django.http import HttpResponse
from django.utils.dateparse import parse_datetime
from django.utils.decorators import method_decorator
from django.utils.timezone import is_naive, make_aware
from django.views.decorators.cache import cache_control
from django.views.decorators.http import condition
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from kombu.exceptions import OperationalError
from rest_framework.exceptions import (
    APIException,
    NotFound,
    ValidationError,
)
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from ledger import reads, serializers, services, tasks
from ledger.errors import NotSequencedError
from ledger.kinds import ArtifactType
from ledger.models import Artifact
from ledger.serializers import MAX_LIMIT

_NAMESPACE = UUID("6c656467-6572-5000-8000-000000000001")
_ERRORS = serializers.problems(400, 401, 403, 503)
_ERRORS_404 = serializers.problems(400, 401, 403, 404, 503)
_TEXT = {
    name: OpenApiParameter(name, OpenApiTypes.STR)
    for name in ("limit", "type", "source", "subject", "since", "until", "cursor")
}


class QueueAway(APIException):
    """The broker does not answer: nothing was queued."""

    status_code = 503
    default_detail = "The queue does not answer; nothing was started. Try again."
    wait = 5


class MayVerify(BasePermission):
    """Starting a verification needs a permission; reading its result does not."""

    message = "Your role may not start a verification."

    def has_permission(self, request: Request, view: Any) -> bool:
        """Refuse a POST without the permission."""
        return request.method != "POST" or request.user.has_perm("ledger.verify_ledger")


def _version(request: Request, *args: Any, **kwargs: Any) -> str:
    return f'"{reads.version()}"'


# -- The documented route ----------------------------------------------------------
class DocumentedArtifacts(APIView):
    """GET /api/health/artifacts: lenient, as the original API was."""

    documented = True

    @extend_schema(
        operation_id="health_artifacts",
        parameters=list(_TEXT.values()),
        responses={
            200: serializers.DocumentedArtifactsOut,
            **dict.fromkeys((401, 403, 503), serializers.ErrorOut),
        },
    )
    @method_decorator(condition(etag_func=_version))
    def get(self, request: Request) -> Response:
        """Return the newest artifacts, oldest first; what is not understood is left out."""
        query = request.query_params
        wanted = _lenient(query)
        limit = _lenient_number(query.get("limit"), 100, MAX_LIMIT)
        rows = reads.matching(wanted)
        if cursor := _lenient_number(query.get("cursor"), 0, 2**63 - 1):
            rows = rows.filter(pk__lt=cursor)
        newest = list(rows.order_by("-pk")[:limit])
        body = {
            "total": reads.count_matching(wanted),
            "artifacts": newest[::-1],
            "types": [*ArtifactType],
            "next": str(newest[-1].pk) if len(newest) == limit else None,
        }
        return Response(serializers.DocumentedArtifactsOut(body).data)


def _lenient_number(text: str | None, default: int, most: int) -> int:
    """Read a number as the original did: NaN and 0 count as the default."""
    try:
        number = float(text or "")
    except ValueError:
        return default
    return min(int(number), most) if math.isfinite(number) and number >= 1 else default


def _lenient(query: Any) -> dict[str, Any]:
    wanted: dict[str, Any] = {
        name: query[name].replace("\0", "")
        for name in ("type", "source", "subject")
        if query.get(name)
    }
    for name in ("since", "until"):
        with contextlib.suppress(ValueError, OverflowError):
            at = parse_datetime(query.get(name, ""))
            if at is not None:
                wanted[name] = (make_aware(at) if is_naive(at) else at).astimezone(UTC)
    return wanted


# -- Our own routes ----------------------------------------------------------------
class ArtifactsView(APIView):
    """The artifacts, newest first, or in order after a sequence."""

    @extend_schema(
        operation_id="ledger_artifacts",
        parameters=[serializers.ArtifactsIn],
        responses={200: serializers.ArtifactsOut, **_ERRORS},
    )
    @method_decorator(condition(etag_func=_version))
    def get(self, request: Request) -> Response:
        """Return one page; `next` leads to the one after it."""
        asked = serializers.ArtifactsIn(data=request.query_params)
        asked.is_valid(raise_exception=True)
        wanted = asked.validated_data
        limit = wanted["limit"]
        rows = reads.matching(wanted)
        if "after" in wanted:
            rows = rows.filter(leaf__sequence__gt=wanted["after"])
            rows = rows.order_by(F("leaf__sequence").asc())
        else:
            if "cursor" in wanted:
                rows = rows.filter(pk__lt=wanted["cursor"])
            rows = rows.order_by("-pk")
        page = list(rows[: limit + 1])
        more = len(page) > limit
        following = _next(request, page[limit - 1]) if more else None
        body = {"artifacts": page[:limit], "next": following}
        return Response(serializers.ArtifactsOut(body).data)


def _next(request: Request, last: Artifact) -> str:
    query = request.query_params.dict()
    if "after" in query:
        query["after"] = str(last.sequence)
    else:
        query["cursor"] = str(last.pk)
    return request.build_absolute_uri(f"{request.path}?{urlencode(query)}")


class ArtifactView(APIView):
    """One artifact by its sequence; it will never change."""

    @extend_schema(
        operation_id="ledger_artifact",
        responses={200: serializers.ArtifactOut, **_ERRORS_404},
    )
    @method_decorator(cache_control(private=True, max_age=31_536_000, immutable=True))
    def get(self, request: Request, sequence: int) -> Response:
        """Return the artifact in that place."""
        _no_parameters(request)
        rows = Artifact.objects.with_sequence()
        artifact = rows.filter(leaf__sequence=_small(sequence)).first()
        if artifact is None:
            raise NotFound(f"The ledger has no #{sequence} yet.")
        etag = f'"{artifact.hash_hex}"'
        return Response(serializers.ArtifactOut(artifact).data, headers={"ETag": etag})


class ProofView(APIView):
    """The inclusion proof of one entry in the newest checkpoint."""

    @extend_schema(
        operation_id="ledger_proof",
        responses={200: serializers.ProofOut, **_ERRORS_404},
    )
    def get(self, request: Request, sequence: int) -> Response:
        """Return the hashes that lead from the entry to the checkpoint's root."""
        _no_parameters(request)
        try:
            proof = reads.prove_inclusion(sequence)
        except NotSequencedError as error:
            raise NotFound(f"{error}.") from None
        return Response(serializers.ProofOut(proof).data)


class CheckpointView(APIView):
    """The newest checkpoint, as its C2SP text."""

    @extend_schema(
        operation_id="ledger_checkpoint",
        responses={(200, "text/plain"): OpenApiTypes.STR, **_ERRORS_404},
    )
    def get(self, request: Request) -> HttpResponse:
        """Return the note; unsigned until there is a key."""
        _no_parameters(request)
        try:
            newest = reads.newest_checkpoint()
        except NotSequencedError as error:
            raise NotFound(f"{error}.") from None
        response = HttpResponse(newest.note, content_type="text/plain; charset=utf-8")
        response["ETag"] = f'"{bytes(newest.root).hex()}"'
        return response


class ConsistencyView(APIView):
    """The proof that the tree only grew between two sizes."""

    @extend_schema(
        operation_id="ledger_consistency",
        parameters=[serializers.ConsistencyIn],
        responses={200: serializers.ConsistencyOut, **_ERRORS_404},
    )
    def get(self, request: Request) -> Response:
        """Return the hashes that lead from both roots to each other."""
        asked = serializers.ConsistencyIn(data=request.query_params)
        asked.is_valid(raise_exception=True)
        first, size = asked.validated_data["from"], asked.validated_data.get("to")
        if size is not None and first > size:
            raise ValidationError({"from": ["is larger than to"]})
        try:
            proof = reads.prove_consistency(first, size)
        except NotSequencedError as error:
            raise NotFound(f"{error}.") from None
        return Response(serializers.ConsistencyOut(proof).data)


class VerifyView(APIView):
    """What the last verification found; POST starts a full one."""

    permission_classes = [*APIView.permission_classes, MayVerify]

    @extend_schema(
        operation_id="ledger_verify",
        responses={200: serializers.VerifyOut, **_ERRORS},
    )
    def get(self, request: Request) -> Response:
        """Return the newest result; nulls where nothing was verified yet."""
        _no_parameters(request)
        now = services.state()
        body: dict[str, Any] = dict.fromkeys(
            ("at", "ok", "size", "root", "full", "seconds", "first_bad", "kind")
        )
        if now.last_verify:
            body = {name: getattr(now.last_verify, name) for name in body}
        body |= {"anchored_size": now.anchored_size, "anchored_at": now.anchored_at}
        return Response(serializers.VerifyOut(body).data)

    @extend_schema(
        operation_id="ledger_verify_start",
        request=None,
        parameters=[
            OpenApiParameter(
                "Idempotency-Key", OpenApiTypes.STR, OpenApiParameter.HEADER
            )
        ],
        responses={
            200: serializers.VerifyStartedOut,
            202: serializers.VerifyStartedOut,
            **_ERRORS,
        },
    )
    def post(self, request: Request) -> Response:
        """Queue a full verification; a repeated Idempotency-Key verifies once."""
        _no_parameters(request)
        actor = services.actor_of(request.user)
        event_id = _event_id(request, actor)
        status, code = "done", 200
        if not Artifact.objects.by_event(event_id).exists():
            status, code = "queued", 202
            try:
                tasks.verify.delay(full=True, actor=actor, event_id=str(event_id))
            except OperationalError:
                raise QueueAway from None
        body = {"id": event_id, "status": status}
        return Response(serializers.VerifyStartedOut(body).data, status=code)


def _event_id(request: Request, actor: str) -> UUID:
    key = request.headers.get("Idempotency-Key", "")
    if len(key) > 64:
        say = "is longer than 64 characters"
        raise ValidationError({"Idempotency-Key": [say]})
    return uuid5(_NAMESPACE, f"{actor}\n{key}\nledger") if key else uuid4()


def _no_parameters(request: Request) -> None:
    if request.query_params:
        say = "unknown parameter; this route takes none"
        raise ValidationError({name: [say] for name in request.query_params})


def _small(sequence: int) -> int:
    """Return a number every database can compare with; too large is not there."""
    return sequence if sequence <= serializers.MAX_SEQUENCE else -1
