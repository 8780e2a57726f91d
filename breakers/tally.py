"""The sums of calls in the table, for the console's charts: added up by every process.

A chart, not the ledger: a process that is killed loses what it counted since its last
write, and an answer that was lost after a commit counts twice. What was counted while
the database was away is kept, a day of it at most, and written when it is back.
"""

import logging
import threading
import time
from collections.abc import Mapping
from datetime import datetime, timedelta

from django.db import DatabaseError, InterfaceError, connection
from django.utils import timezone

from breakers.models import BreakerTraffic
from breakers.traffic import CALLED, FAILED, bucket_of

# A little less than the database thread's look: each finds it due.
EVERY = 29.0
KEPT = timedelta(hours=25)
# SQLite takes 32,766 parameters at most.
MOST_ROWS = 2000

COLUMNS = ("name", "at", "calls", "failed")

Bucket = tuple[str, datetime]

logger = logging.getLogger(__name__)


class Tally:
    """What was counted in this process and is not in the table yet."""

    def __init__(self) -> None:
        self._cleaned: datetime | None = None
        self.forked()

    def forked(self) -> None:
        """Begin anew in a child: its parent writes what it counted itself."""
        self._lock = threading.Lock()
        self._counted: dict[Bucket, tuple[int, int]] = {}
        self._due = 0.0
        self._writing = False

    @property
    def waits(self) -> bool:
        """Tell whether there is something that is not written yet."""
        return self._writing or bool(self._counted)

    def count(self, name: str, outcome: str, more: int) -> None:
        """Note calls of one outcome; refused ones make a sum of no calls."""
        calls = more if outcome in CALLED else 0
        failed = more if outcome in FAILED else 0
        key = (name, bucket_of(timezone.now()))
        if key not in self._counted:
            self._forget(key[1] - KEPT)
        self._note({key: (calls, failed)})

    def _note(self, counted: Mapping[Bucket, tuple[int, int]]) -> None:
        with self._lock:
            for key, (calls, failed) in counted.items():
                before = self._counted.get(key, (0, 0))
                self._counted[key] = (before[0] + calls, before[1] + failed)

    def _forget(self, oldest: datetime) -> None:
        with self._lock:
            for key in [key for key in self._counted if key[1] < oldest]:
                del self._counted[key]

    def hurry(self) -> None:
        """Write at the next look: the process ends."""
        self._due = 0.0

    def write(self) -> None:
        """Add what was counted to the table, if it is time; nothing counted, no query."""
        if not self._counted or time.monotonic() < self._due:
            return
        self._due = time.monotonic() + EVERY
        self._writing = True  # before it is taken: who ends waits for it
        taken = self._take()
        try:
            self._clean()
            _add(taken)
        except (DatabaseError, InterfaceError, OSError) as error:
            # No reason for the database thread to think that states are lost.
            logger.warning("breakers_traffic_waits: %s", type(error).__name__)
            self._note(taken)
        finally:
            self._writing = False

    def _take(self) -> dict[Bucket, tuple[int, int]]:
        with self._lock:
            keys = sorted(self._counted)[:MOST_ROWS]
            return {key: self._counted.pop(key) for key in keys}

    def _clean(self) -> None:
        """Delete what no chart shows any more, once a bucket."""
        running = bucket_of(timezone.now())
        if running != self._cleaned:
            self._cleaned = running
            BreakerTraffic.objects.filter(at__lt=running - KEPT).delete()


def _add(counted: Mapping[Bucket, tuple[int, int]]) -> None:
    """Add to the rows in one statement; sorted, so that no two processes deadlock."""
    own = BreakerTraffic._meta
    table = connection.ops.quote_name(own.db_table)
    name, at, calls, failed = map(connection.ops.quote_name, COLUMNS)
    rows = [(*key, *counted[key]) for key in sorted(counted)]
    fields = {field.name: field for field in own.fields}
    values = [
        fields[column].get_db_prep_save(value, connection)
        for row in rows
        for column, value in zip(COLUMNS, row, strict=True)
    ]
    marks = ", ".join(["(%s, %s, %s, %s)"] * len(rows))
    statement = (
        f"INSERT INTO {table} ({name}, {at}, {calls}, {failed}) VALUES {marks} "  # noqa: S608 - names of the model
        f"ON CONFLICT ({name}, {at}) DO UPDATE SET "
        f"{calls} = {table}.{calls} + excluded.{calls}, "
        f"{failed} = {table}.{failed} + excluded.{failed}"
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


tally = Tally()
