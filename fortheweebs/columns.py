"""How the lists draw the columns that apps name: badges, times, numbers."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.exceptions import FieldDoesNotExist
from django.db.models import BooleanField, DateTimeField, Field, Model
from django.utils.html import format_html

from fortheweebs.now import left, person
from fortheweebs.tags import moment, state, when

Draw = Callable[[Any], Any]
# Seen every 10 s; what missed three is not known to be well.
SEEN = timedelta(seconds=40)
# Fields whose words are states, in whichever model they stand.
BADGES = frozenset({"severity", "hold", "state"})


@dataclass(frozen=True, slots=True)
class Dress:
    """How to draw a column; ``draw`` None leaves the value as it is."""

    draw: Draw | None = None
    number: bool = False


def dress(model: type[Model], name: str) -> Dress | None:
    """Return how to draw a column of a list; None: as Django does."""
    known = COLUMNS.get(model._meta.label_lower, {}).get(name)
    if known is not None:
        return known
    if name.startswith("n_"):
        return Dress(number=True)
    try:
        return _of_field(model._meta.get_field(name))
    except FieldDoesNotExist:
        return None


def drawer(name: str, title: str, dress: Dress, source: Draw | None) -> Draw:
    """Return the column; its name makes the class by which numbers stand right."""
    unit = title.rpartition(", ")[2] if ", " in title else title.lower()

    def draw(row: Any) -> Any:
        if dress.draw is not None:
            return dress.draw(row)
        value = source(row) if source else getattr(row, name)
        if not (dress.number and value):
            return value
        # Where there is no head to say what is counted, the unit stands beside it.
        return format_html('{}<span class="u"> {}</span>', value, unit)

    draw.column = name  # type: ignore[attr-defined]
    draw.__name__ = name
    if dress.number and not name.startswith("n_"):
        draw.__name__ = f"n_{name}"
    return draw


def _of_field(field: Any) -> Dress | None:
    name = field.name
    if isinstance(field, DateTimeField):
        return Dress(lambda row: when(getattr(row, name)) if getattr(row, name) else "")
    if isinstance(field, BooleanField):
        return Dress(lambda row: "yes" if getattr(row, name) else "no")
    if isinstance(field, Field) and name in BADGES:
        return Dress(lambda row: state(getattr(row, name)))
    return None


def _live(row: Any) -> Any:
    return _probe(row, well=row.live, why="")


def _ready(row: Any) -> Any:
    return _probe(row, well=row.ready, why="; ".join(row.detail.get("reasons", [])))


def _probe(row: Any, *, well: bool, why: str) -> Any:
    if datetime.now(UTC) - row.seen_at > SEEN:
        return state("unknown")
    badge = state("ok" if well else "fail")
    return format_html("{}<small>{}</small>", badge, why) if why else badge


def _held(row: Any) -> Any:
    now = datetime.now(UTC)
    if not row.is_held(now):
        return ""
    until = row.hold_until
    end = f"until {moment(until, now=now)} ({left(until, now)})" if until else "no end"
    why = f"{end}, {person(row.hold_by) or 'command'}: “{row.hold_reason}”"
    return format_html("{}<small>{}</small>", state(row.hold), why)


COLUMNS: dict[str, dict[str, Dress]] = {
    "health.instance": {
        "live": Dress(_live),
        "ready": Dress(_ready),
        "rss_mib": Dress(number=True),
        "slots_fresh": Dress(number=True),
        "seen_at": Dress(lambda row: when(row.seen_at, "ago"), number=True),
        "hold": Dress(_held),
    },
    "ledger.artifact": {
        "at": Dress(lambda row: when(row.at, "clock")),
        "n_sequence": Dress(),
    },
}
