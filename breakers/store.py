"""The database thread: the table is the truth, and this keeps every process to it.

One a process, started at the first use of a breaker after a fork. It speaks to the
database only and may hang harmlessly: no call waits for it. Each pass is one query for
all rows; newer ones are adopted, and what the table does not have yet is written on the
condition that nobody changed the row meanwhile.
"""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

from django.db import DatabaseError, InterfaceError, connections, transaction
from django.utils import timezone

from breakers import audit, fleet, registry
from breakers.circuit import JITTER, MOST_GROWTH
from breakers.guard import CircuitBreaker
from breakers.models import (
    NAME_LENGTH,
    TEXT_LENGTH,
    BreakerState,
    circuit_columns,
    override_columns,
)
from breakers.states import ENDED, CircuitState, Row, Transition
from breakers.tally import tally
from ledger.services import ArtifactType, Source, record
from ledger.waits import database_wait

# One indexed query each: with Redis it only catches what was lost on the way.
POLL, POLL_ALONE = 30.0, 2.0
# A change that came by Redis is written by whoever made it, unless that was killed.
OTHERS_FIRST = 2.0
RETRY = 2.0
DATABASE_WAIT = 5.0
DRAIN = 2.0
AWAY = (DatabaseError, InterfaceError, OSError)
NO_OVERRIDE: dict[str, Any] = {
    "override": "",
    "override_reason": "",
    "override_by": "",
    "override_remaining": None,
}

logger = logging.getLogger(__name__)


# -- What two versions of a row come to --------------------------------------------
def merge(mine: Row, theirs: Row, agreed: Row | None, *, said: bool) -> Row:
    """Return what this process's row and the table's come to.

    That is ``theirs`` itself when there is nothing to write. An override that came into
    the table since we agreed stays, whatever version the circuit has here: nobody who
    acts may lose to a trip of the same moment. ``said``: our own code spoke of overrides
    since then; only so may one that the table holds be ended from here, or one that was
    only heard of before any look be put back into a table that has ended it.
    """
    mine = _normal(mine)
    told = not _same_override(theirs, agreed or Row(theirs.name))
    heard = bool(mine.override) and agreed is not None
    held = mine if not told and (said or heard) else theirs
    ahead, behind = mine.version > theirs.version, mine.version < theirs.version
    circuit = mine if ahead or _opens(mine, theirs) else theirs
    early = agreed is None and mine.version > 0  # something happened before any look
    if behind and not early:
        return theirs
    new = circuit is mine or not _same_override(held, theirs)
    takes_over = behind or _same_override(mine, theirs) or _opens(theirs, mine)
    if not new and takes_over:
        return theirs
    alone = ahead and _same_override(held, mine)
    return replace(
        circuit,
        version=mine.version if alone else max(mine.version, theirs.version) + 1,
        override=held.override,
        override_reason=held.override_reason,
        override_by=held.override_by,
        override_remaining=held.override_remaining,
    )


def _opens(one: Row, other: Row) -> bool:
    return one.state == CircuitState.OPEN and other.state != CircuitState.OPEN


def _normal(row: Row) -> Row:
    """Return a row as the table would hold it."""
    if row.override_remaining == 0.0:
        return replace(row, **NO_OVERRIDE)
    return replace(
        row,
        override_reason=row.override_reason[:TEXT_LENGTH],
        override_by=row.override_by[:NAME_LENGTH],
    )


def _same_override(one: Row, other: Row) -> bool:
    names = ("override", "override_reason", "override_by")
    if any(getattr(one, name) != getattr(other, name) for name in names):
        return False
    ends = (one.override_remaining, other.override_remaining)
    if not one.override or ends == (None, None):
        return True
    return None not in ends and abs((ends[0] or 0.0) - (ends[1] or 0.0)) < 1.0


# -- One pass ----------------------------------------------------------------------
class Store:
    """What this process and the table last agreed on, and the thread that sees to it."""

    def __init__(self) -> None:
        self.held = False
        self._agreed: dict[str, BreakerState] = {}
        # The version at which our own code last spoke of a breaker's override.
        self._said: dict[str, int] = {}
        self._begin()

    def _begin(self) -> None:
        """Run nothing: also the state after a fork."""
        self._lock = threading.Lock()
        self._event = threading.Event()
        self._running = False
        self._away = False
        self._due = 0.0

    def look(self) -> None:
        """Compare every breaker of this process with the table, in this thread."""
        now = timezone.now()
        rows = {row.name: row for row in BreakerState.objects.order_by()}
        for row in rows.values():
            if row.override and not row.is_overridden(now):
                _end_override(row, now)
        for breaker in registry.all_breakers():
            self._settle(breaker, rows.get(breaker.name), now)

    def _settle(
        self, breaker: CircuitBreaker, stored: BreakerState | None, now: datetime
    ) -> None:
        mine = breaker.circuit.row()
        if stored is None:
            self._agree(BreakerState(name=breaker.name))
            if mine.version:
                _insert(mine, now)
                self.wake()  # to see whose was first
            return
        theirs = _within_limits(stored.as_row(now), breaker)
        agreed = self._agreed.get(breaker.name)
        merged = merge(
            mine,
            theirs,
            agreed.as_row(now) if agreed else None,
            said=self._said.get(breaker.name, 0) > (agreed.version if agreed else 0),
        )
        if merged is not theirs:
            written = _update(stored, merged, now)
            if written is None:
                self.wake()  # somebody else was first: look what they made of it
                return
            stored = written
        if merged.version > mine.version or merged is theirs:
            breaker.adopt(merged)
        if merged is not theirs and merged.version > mine.version:
            fleet.publish(merged)
        self._agree(stored)

    def _agree(self, row: BreakerState) -> None:
        self._agreed[row.name] = row
        audit.agree(row.name)

    def is_ahead(self, breaker: CircuitBreaker) -> bool:
        """Tell whether a breaker has a version here that the table does not have."""
        agreed = self._agreed.get(breaker.name)
        return breaker.circuit.version > (agreed.version if agreed else 0)

    # -- From any thread, at once --------------------------------------------------
    def join(self, breaker: CircuitBreaker) -> None:
        """Look at the table soon: a breaker is about to be used."""
        if registry.find_breaker(breaker.name) is breaker:
            self.start()
            self.wake()

    def changed(self, breaker: CircuitBreaker) -> None:
        """Write soon what was changed here."""
        if registry.find_breaker(breaker.name) is breaker and self.is_ahead(breaker):
            self.note(breaker)
            self.start()
            self.wake()

    def note(self, breaker: CircuitBreaker) -> None:
        """Note whether it was the override that was changed here."""
        mine = breaker.circuit.row()
        agreed = self._agreed.get(breaker.name) or BreakerState(name=breaker.name)
        # With an author it is an operator's act, heard of before it was looked for.
        if not mine.override_by and not _same_override(
            _normal(mine), agreed.as_row(timezone.now())
        ):
            self._said[breaker.name] = mine.version

    def heard(self, transition: Transition) -> None:
        """See to it that a change made elsewhere reaches the table."""
        if transition.adopted:
            self.wake(within=OTHERS_FIRST)

    def wake(self, *, within: float = 0.0) -> None:
        """Look within so many seconds."""
        self._due = min(self._due, time.monotonic() + within)
        self._event.set()

    def start(self) -> None:
        """Start the thread of this process, once."""
        with self._lock:
            if self._running or self.held:
                return
            self._running = True
        try:
            threading.Thread(
                target=self._run, name="breakers-store", daemon=True
            ).start()
        except RuntimeError:  # the interpreter ends
            logger.debug("no database thread: no more threads")

    def drain(self, seconds: float = DRAIN) -> None:
        """Wait until everything is written, at most so long: the process ends."""
        end = time.monotonic() + seconds
        tally.hurry()
        while self._running and not self._away and time.monotonic() < end:
            ahead = any(map(self.is_ahead, registry.all_breakers()))
            if not ahead and not tally.waits:
                return
            self.wake()
            time.sleep(0.01)

    def forked(self) -> None:
        """Begin anew in a child, and leave the parent's connections alone."""
        if self._running:
            _forget_connections()
        tally.forked()
        self._begin()

    # -- The thread ----------------------------------------------------------------
    def _run(self) -> None:
        with database_wait(DATABASE_WAIT):
            while True:
                self._wait()
                self._due = time.monotonic() + (POLL if fleet.alive() else POLL_ALONE)
                if not self._try():
                    time.sleep(RETRY)
                    self.wake()

    def _wait(self) -> None:
        while (left := self._due - time.monotonic()) > 0:
            self._event.wait(left)
            self._event.clear()

    def _try(self) -> bool:
        """Look once; tell whether the database answered."""
        try:
            self.look()
            tally.write()
        except Exception as error:
            if not isinstance(error, AWAY):
                logger.exception("breakers_store_failed")
            elif not self._away:
                logger.warning("breakers_store_waits: %s", type(error).__name__)
            self._away = True
        else:
            self._away = False
        finally:
            _close_connections()
        return not self._away


def _within_limits(row: Row, breaker: CircuitBreaker) -> Row:
    """Believe no open time that no breaker could have: a clock was wrong somewhere."""
    most = breaker.options.reset_timeout * MOST_GROWTH * (1 + JITTER)
    return replace(row, remaining=min(row.remaining, most))


# -- Writing -----------------------------------------------------------------------
def _insert(row: Row, now: datetime) -> None:
    columns = circuit_columns(row, now) | override_columns(row, now)
    new = BreakerState(name=row.name, **columns)
    BreakerState.objects.bulk_create([new], ignore_conflicts=True)


def _update(stored: BreakerState, row: Row, now: datetime) -> BreakerState | None:
    """Write a row if nobody changed it since it was read; return it as it is then."""
    columns = circuit_columns(row, now) | override_columns(row, now)
    same = BreakerState.objects.filter(pk=stored.name, version=stored.version)
    if not same.update(**columns):
        return None
    return BreakerState(name=stored.name, **columns)


def _end_override(row: BreakerState, now: datetime) -> None:
    """Take an override that is over out of the row; whoever is first records it."""
    ended, until = row.override, row.override_until
    columns = override_columns(Row(row.name), now)
    with transaction.atomic():
        rows = BreakerState.objects.lapsed(now)
        if rows.filter(pk=row.name, version=row.version).update(**columns):
            record(
                type=ArtifactType.OVERRIDE,
                source=Source.CIRCUIT_BREAKER,
                subject=row.subject,
                event_id=audit.event_id(row.name, row.version, "auto"),
                before=ended,
                after="auto",
                reason=ENDED,
                until=until.isoformat() if until else "",
                version=row.version,
            )
    for name, value in columns.items():
        setattr(row, name, value)


# -- Connections -------------------------------------------------------------------
# Kept, so that nothing of them is ever closed: their sockets are the parent's.
_inherited: list[Any] = []


def _forget_connections() -> None:
    for connection in connections.all(initialized_only=True):
        pools = getattr(type(connection), "_connection_pools", {})
        _inherited.extend([connection.connection, *pools.values()])
        connection.connection = None
        pools.clear()


def _close_connections() -> None:
    """Give the connection back between two looks: a pool has six."""
    try:
        connections.close_all()
    except Exception:
        logger.debug("a connection did not close", exc_info=True)


store = Store()


@contextmanager
def held() -> Iterator[None]:
    """Start no thread meanwhile, for a test in whose transaction rows shall be seen."""
    before, store.held = store.held, True
    try:
        yield
    finally:
        store.held = before
