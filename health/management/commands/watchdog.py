"""`manage.py watchdog`: sample, answer on the probe port, keep the ledger in order."""

import signal
import threading
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from health.duty import Duty
from health.pulse import start_pulse
from health.slots import Role
from health.takeover import Contender, SamplerLock

MODES = ("off", "observe", "workers", "enforce")
ROLES = ("web", "worker", "beat")
RETRY_SECONDS = 0.2


class Command(BaseCommand):
    help = (
        "Sample the dependencies, serve PROBE_PORT and run the sequencer. The mode is"
        " accepted for all four values; acting on processes comes with the judge, so"
        " until then every mode only samples."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--interval", type=float, default=30, help="seconds between HTTP checks"
        )
        parser.add_argument(
            "--strikes", type=int, default=3, help="HTTP failures before acting"
        )
        parser.add_argument("--mode", choices=MODES, default="workers")
        parser.add_argument(
            "--role", default="", help="web,worker,beat; default: every slot it finds"
        )
        parser.add_argument(
            "--period", type=float, default=2.0, help="seconds between two samples"
        )
        parser.add_argument(
            "--timeout", type=float, default=2.0, help="seconds a sample may take"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        roles = read_roles(options["role"])
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        start_pulse(Role.WATCHDOG)
        contender = Contender(SamplerLock(), try_after=0)
        while not stop.is_set():
            if not contender.tick(time.monotonic_ns()):
                stop.wait(RETRY_SECONDS)
                continue
            duty = Duty(
                roles=roles,
                own_role="watchdog",
                period=options["period"],
                timeout=options["timeout"],
            )
            duty.run(lambda: not stop.is_set())
            contender.lock.release()


def read_roles(text: str) -> frozenset[str]:
    """Read --role; nothing means the web workers decide `live` on the probe port."""
    roles = frozenset(part.strip() for part in text.split(",") if part.strip())
    unknown = roles - set(ROLES)
    if unknown:
        raise CommandError(
            f"--role: {', '.join(sorted(unknown))} is not one of {', '.join(ROLES)}"
        )
    return roles or frozenset({"web"})
