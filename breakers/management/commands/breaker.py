"""`manage.py breaker list | show | force_open | disable | metrics_only | auto | reset`."""

import re
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from breakers import services
from breakers.errors import ActRefusedError, BreakerError
from breakers.services import BreakerFacts
from breakers.states import Override

MODES = {
    "force_open": Override.FORCED_OPEN,
    "disable": Override.DISABLED,
    "metrics_only": Override.METRICS_ONLY,
    "auto": services.AUTO,
}
HELP = {
    "force_open": "refuse every call",
    "disable": "let every call pass and count nothing",
    "metrics_only": "count every call and refuse none",
    "auto": "end an override",
    "reset": "close the circuit, whatever it learned",
}
UNITS = {"m": 60, "min": 60, "h": 3600, "d": 86400}
LONGEST_DAYS = 365


def span(text: str) -> timedelta:
    """Read ``15m``, ``1h`` or ``2d``."""
    match = re.fullmatch(r"([1-9]\d{0,5})(m|min|h|d)", text)
    if not match:
        raise ArgumentTypeError(f"{text!r} is not a time; write 15m, 1h or 2d")
    length = timedelta(seconds=int(match[1]) * UNITS[match[2]])
    if length > timedelta(days=LONGEST_DAYS):
        raise ArgumentTypeError(f"{text!r} is longer than {LONGEST_DAYS} days")
    return length


class Command(BaseCommand):
    help = "Look at circuit breakers, override them, reset them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        verbs.add_parser("list", help="one line a breaker")
        show = verbs.add_parser("show", help="all that is known of one")
        show.add_argument("name")
        for verb, say in HELP.items():
            act = verbs.add_parser(verb, help=say)
            act.add_argument("name")
            act.add_argument("--reason", required=True, help="why; 5 to 200 characters")
            if verb in {"force_open", "disable", "metrics_only"}:
                end = act.add_mutually_exclusive_group()
                end.add_argument(
                    "--for",
                    dest="length",
                    type=span,
                    default=timedelta(hours=1),
                    help="15m, 1h (the default), 2d: it ends by itself",
                )
                end.add_argument(
                    "--no-end", action="store_true", help="until somebody says auto"
                )

    def handle(self, *args: Any, verb: str, **options: Any) -> None:
        verbs = {"list": self.list_all, "show": self.show, "reset": self.reset}
        run: Callable[..., None] = verbs.get(verb, self.override)
        try:
            run(verb=verb, **options)
        except ActRefusedError as error:
            raise CommandError(f"--{_flag(error.field)}: {error.message}") from None
        except BreakerError as error:
            raise CommandError(str(error)) from None

    def list_all(self, **options: Any) -> None:
        now = timezone.now()
        for told in services.list_breakers():
            self.stdout.write(f"{told.name:20} {told.state:12} {_more(told, now)}")

    def show(self, *, name: str, **options: Any) -> None:
        told = services.get_breaker_row(name)
        for word, value in _words(told):
            self.stdout.write(f"{word:10} {value}")

    def override(self, *, verb: str, name: str, reason: str, **options: Any) -> None:
        mode = MODES[verb]
        endless = mode == services.AUTO or options["no_end"]
        # Whoever may run commands on the machine may go without an end.
        told = services.override_breaker(
            name,
            mode,
            reason=reason,
            until=None if endless else timezone.now() + options["length"],
            actor="",
            endless=True,
        )
        self.stdout.write(f"{told.name} is {told.state}{_end(told)}")

    def reset(self, *, name: str, reason: str, **options: Any) -> None:
        told = services.reset_breaker(name, reason=reason, actor="")
        below = told.circuit_state
        held = "" if told.state == below else f", held {told.state}"
        self.stdout.write(f"{told.name} is {below}{held}")


def _flag(field: str) -> str:
    return {"until": "for", "mode": "mode"}.get(field, field)


def _end(told: BreakerFacts) -> str:
    if told.override.mode == services.AUTO:
        return ""
    until = told.override.until
    return f" until {until:%Y-%m-%d %H:%M} UTC" if until else " without end"


def _more(told: BreakerFacts, now: datetime) -> str:
    """Say what somebody would ask next."""
    if told.override.mode != services.AUTO:
        return f"{_end(told).strip()}: {told.override.reason}"
    if told.open_until is not None and told.open_until > now:
        left = (told.open_until - now).total_seconds()
        return f"{told.reason}; a trial in {left:.0f} s"
    return told.reason


def _words(told: BreakerFacts) -> list[tuple[str, object]]:
    held = told.override
    return [
        ("name", told.name),
        ("state", told.state),
        ("circuit", told.circuit_state),
        ("reason", told.reason or "-"),
        ("opened", _time(told.opened_at)),
        ("open until", _time(told.open_until)),
        ("last error", told.last_error or "-"),
        ("trips", told.trips),
        ("threshold", told.threshold),
        ("override", f"{held.mode}{_end(told)}"),
        ("because", held.reason or "-"),
        ("by", held.by or "-"),
        ("version", told.version),
    ]


def _time(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC" if at else "-"
