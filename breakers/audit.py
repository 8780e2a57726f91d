"""What the ledger is told of breakers: one artifact for each transition of the fleet.

Trips and closings, and overrides set by code. A trial, and the opening anew after one
that failed, are none: a dependency that is dead for a day would write hundreds.
"""

from uuid import UUID, uuid5

from breakers.states import ENDED, CircuitState, Transition
from ledger.services import ArtifactType, Source, emit

_NAMESPACE = UUID("62726b72-0000-5000-8000-000000000001")
_OPENED = {CircuitState.OPEN, CircuitState.HALF_OPEN}
_CIRCUIT = {CircuitState.CLOSED, *_OPENED}
# Breakers whose version this process has compared with the table's.
_agreed: set[str] = set()


def event_id(name: str, version: int, what: str) -> UUID:
    """Return the id of a change: the same in whichever process it was made."""
    return uuid5(_NAMESPACE, f"{name}/{version}/{what}")


def agree(name: str) -> None:
    """Note that this process counts a breaker's versions as the table does."""
    _agreed.add(name)


def tell(transition: Transition) -> None:
    """Emit the artifact of a change made here; it outlives the caller's rollback.

    In the thread of the call, before anybody else hears of the change: whoever is
    killed after that has been heard.
    """
    kind = None if transition.adopted else _kind(transition)
    if kind is None:
        return
    emit(
        type=kind,
        source=Source.CIRCUIT_BREAKER,
        subject=f"breaker:{transition.name}",
        event_id=_id(transition),
        at=transition.at,
        old=transition.old,
        new=transition.new,
        reason=transition.reason,
        version=transition.version,
        **transition.evidence,
    )


def _kind(transition: Transition) -> ArtifactType | None:
    old, new = transition.old, transition.new
    if old is CircuitState.CLOSED and new is CircuitState.OPEN:
        return ArtifactType.BREAKER_TRIP
    if old in _OPENED and new is CircuitState.CLOSED:
        return ArtifactType.BREAKER_RESET
    # One that ends by its time ends in every process; the table's is recorded.
    if not {old, new} <= _CIRCUIT and transition.reason != ENDED:
        return ArtifactType.OVERRIDE
    return None


def _id(transition: Transition) -> UUID:
    what = str(transition.new)
    if transition.name not in _agreed:
        # Started while the table is away: its versions begin at 1 again, and an id that
        # was there last month would be taken for a repeat.
        what += f"/{transition.at:%Y-%m-%dT%H:%M}"
    return event_id(transition.name, transition.version, what)
