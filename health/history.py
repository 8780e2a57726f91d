"""What the ledger knows of the checks, and the summary of the instance."""

from datetime import datetime
from typing import Any

from health import answers
from health.snapshot import State
from ledger.models import Artifact
from ledger.services import ArtifactType

CHANGES = (ArtifactType.DEGRADE, ArtifactType.RECOVER)
RECENT = 5


def changes(
    *, limit: int, name: str | None = None, since: datetime | None = None
) -> list[dict[str, Any]]:
    """Return the newest changes of the checks, oldest first."""
    found = Artifact.objects.with_sequence().filter(type__in=CHANGES)
    found = (
        found.filter(subject=f"check:{name}")
        if name
        else found.filter(subject__startswith="check:")
    )
    if since is not None:
        found = found.filter(at__gte=since)
    return [_change(artifact) for artifact in reversed(found.order_by("-id")[:limit])]


def _change(artifact: Artifact) -> dict[str, Any]:
    details = artifact.details
    return {
        "timestamp": artifact.timestamp,
        "check": artifact.subject.removeprefix("check:"),
        "type": artifact.type,
        "from": details.get("from", ""),
        "to": details.get("to", ""),
        "reason": details.get("reason", ""),
        "sequence": artifact.sequence,
    }


def summarize() -> dict[str, Any]:
    """Return the health summary in the documented shape."""
    verdict, snapshot = answers.readiness()
    states = [check.state for check in (snapshot.checks if snapshot else ())]
    alive = answers.own_liveness().alive
    status = "operational"
    if not (alive and verdict.ready):
        status = "unhealthy"
    elif any(state is not State.PASS for state in states):
        status = "degraded"
    recent = Artifact.objects.with_sequence().order_by("-id")[:RECENT]
    return {
        "status": status,
        "liveness": "/api/health/live",
        "readiness": "/api/health/ready",
        "startup": "/api/health/startup",
        "uptime": answers.uptime(),
        "memory": answers.memory(),
        "lastChecks": answers.last_checks(snapshot),
        "artifacts": {
            "count": Artifact.objects.count(),
            "recent": [_brief(artifact) for artifact in reversed(recent)],
            "endpoint": "/api/health/artifacts",
        },
    }


def _brief(artifact: Artifact) -> dict[str, Any]:
    return {
        "timestamp": artifact.timestamp,
        "type": artifact.type,
        "source": artifact.fields["source"],
        "subject": artifact.subject,
        "actor": artifact.actor,
        "details": artifact.details,
        "hash": artifact.hash_hex,
        "sequence": artifact.sequence,
    }
