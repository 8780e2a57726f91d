"""A change of state: one artifact and one line in the log, never one each time."""

import logging
from typing import Any

from health.snapshot import Probe, State
from ledger.services import ArtifactType, Source, emit

logger = logging.getLogger(__name__)
SOURCES = {
    Probe.LIVE: Source.LIVENESS,
    Probe.READY: Source.READINESS,
    Probe.STARTUP: Source.STARTUP,
}


def announce(
    *, subject: str, source: Source, old: State, new: State, why: str = ""
) -> None:
    """Write down that something got worse or better; it outlives a dead database."""
    worse = new is State.FAIL or (new is State.WARN and old is not State.FAIL)
    kind = ArtifactType.DEGRADE if worse else ArtifactType.RECOVER
    details: dict[str, Any] = {"from": old.value, "to": new.value, "reason": why}
    emit(type=kind, source=source, subject=subject, **details)
    log = logger.warning if worse else logger.info
    log(kind.value, extra={"subject": subject, "to": new.value, "reason": why})
