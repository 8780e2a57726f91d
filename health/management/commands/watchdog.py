"""`manage.py watchdog`: sample, answer on the probe port, keep the ledger in order."""

import signal
import threading
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from health.ask import ask
from health.duty import Duty
from health.httprule import HttpRule, Line
from health.pulse import start_pulse
from health.slots import Role
from health.steady import Steady
from health.takeover import Contender, SamplerLock
from health.watchlog import WatchLog

MODES = ("off", "observe", "workers", "enforce")
ROLES = ("web", "worker", "beat")
RETRY_SECONDS = 0.2
ANSWER_SECONDS = 5.0


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
        asking = Steady("http-rule", options["interval"], HttpWatch(options).ask)
        asking.start()
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


class HttpWatch:
    """Ask the web server for its liveness and keep the log; the judge will act on it."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._rule = HttpRule(strikes=options["strikes"])
        self._log = WatchLog(Path(settings.LOG_DIR) / "watchdog.log")
        self._mode = options["mode"]

    def ask(self) -> None:
        reply = ask(main_url(), seconds=ANSWER_SECONDS)
        status = 0 if reply is None else reply.status
        self._rule, line = self._rule.next(alive=status == 200, at=time.monotonic())
        if line is not Line.NOTHING:
            self._log.write(
                line.value,
                status=status,
                strikes=self._rule.failures,
                mode=self._mode,
            )


def main_url() -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.HOST, settings.HOST)  # noqa: S104 - compared, not bound
    return f"http://{host}:{settings.PORT}/api/health/live"


def read_roles(text: str) -> frozenset[str]:
    """Read --role; nothing means the web workers decide `live` on the probe port."""
    roles = frozenset(part.strip() for part in text.split(",") if part.strip())
    unknown = roles - set(ROLES)
    if unknown:
        raise CommandError(
            f"--role: {', '.join(sorted(unknown))} is not one of {', '.join(ROLES)}"
        )
    return roles or frozenset({"web"})
