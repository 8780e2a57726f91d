"""`manage.py watchdog`: sample, answer on the probe port, sequence, judge and act."""

import signal
import threading
import time
from argparse import ArgumentParser
from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from health import startup
from health.acting import JUDGE_SECONDS, Acting, load_spending
from health.ask import ask
from health.budget import Budget
from health.control import ASK_SECONDS, Control
from health.duty import Duty
from health.httprule import HttpRule, Line
from health.judge import DAY, Judge, Limits, Mode
from health.metrics import Measures
from health.notify import Notifier
from health.pulse import start_pulse
from health.slots import Role
from health.steady import Steady
from health.takeover import Contender, SamplerLock
from health.watchlog import WatchLog
from health.witness import BROKER_BACK_SECONDS, Witness

MODES = tuple(mode.value for mode in Mode)
ROLES = ("web", "worker", "beat")
RETRY_SECONDS = 0.2
# A judge that has not gone round for so long hangs, and so does what it should watch.
JUDGE_HANGS_SECONDS = 10.0
ANSWER_SECONDS = 5.0
LIMITS = {one.name for kind in (Limits, Budget) for one in fields(kind)} | {
    "broker_back"
}
T = TypeVar("T", Limits, Budget)


class Command(BaseCommand):
    help = (
        "Sample the dependencies, serve PROBE_PORT, run the sequencer, and act on"
        " processes of this installation that stand still. Modes: off samples only;"
        " observe writes down what it would do; workers ends web workers and pool"
        " children and writes down the rest; enforce also ends a web master, a Celery"
        " worker or a beat, for their supervisor to start again."
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
            "--limit",
            action="append",
            default=[],
            metavar="NAME=SECONDS",
            help=f"change one limit, may be repeated: {', '.join(sorted(LIMITS))}",
        )
        parser.add_argument(
            "--period", type=float, default=2.0, help="seconds between two samples"
        )
        parser.add_argument(
            "--timeout", type=float, default=2.0, help="seconds a sample may take"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        roles = read_roles(options["role"])
        limits = read_limits(options["limit"])
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        start_pulse(Role.WATCHDOG)
        log = WatchLog(Path(settings.LOG_DIR) / "watchdog.log")
        http = HttpWatch(log, strikes=options["strikes"], mode=options["mode"])
        Steady("http-rule", options["interval"], http.ask).start()
        contender = Contender(SamplerLock(), try_after=0)
        notifier = Notifier()
        while not stop.is_set():
            notifier.tick(well=True)
            if not contender.tick(time.monotonic_ns()):
                stop.wait(RETRY_SECONDS)
                continue
            duty = Duty(
                roles=roles,
                own_role="watchdog",
                period=options["period"],
                timeout=options["timeout"],
            )
            hands = Hands(
                duty,
                http,
                log,
                mode=Mode(options["mode"]),
                roles=roles if options["role"] else frozenset(ROLES),
                limits=limits,
                may_act=lambda: contender.lock.held and not stop.is_set(),
            )
            with hands:
                duty.run(partial(go_on, notifier, duty.measures, stop))
            contender.lock.release()


def go_on(notifier: Notifier, measures: Measures, stop: threading.Event) -> bool:
    """Tell the service manager of one more round; return whether to make another."""
    now = time.time()
    notifier.tick(well=now - measures.beats.get("judge", now) < JUDGE_HANGS_SECONDS)
    return not stop.is_set()


class HttpWatch:
    """Ask the web server for its liveness and keep the log; the judge acts on it."""

    def __init__(self, log: WatchLog, *, strikes: int, mode: str) -> None:
        self._rule = HttpRule(strikes=strikes)
        self._log, self._mode = log, mode

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

    def is_out(self) -> bool:
        return self._rule.is_out

    def start_over(self) -> None:
        """Count anew once something was done: what comes next is another try."""
        self._rule = HttpRule(self._rule.strikes, written_at=self._rule.written_at)


class Hands:
    """The threads that judge and act for one term of holding the lock."""

    def __init__(
        self,
        duty: Duty,
        http: HttpWatch,
        log: WatchLog,
        *,
        mode: Mode,
        roles: frozenset[str],
        limits: dict[str, float],
        may_act: Callable[[], bool],
    ) -> None:
        control = Control(settings.SOCKET_DIR / "gunicorn.ctl", startup.current_master)
        self._acting = Acting(
            judge=Judge(
                mode=mode,
                limits=pick(Limits, limits),
                budget=pick(Budget, limits),
                spending=load_spending(),
            ),
            witness=Witness(
                roles=roles,
                control=control,
                holds=duty.heartbeats.holds,
                struck_out=http.is_out,
                sights=lambda: duty.measures.queues,
                broker_back=limits.get("broker_back", BROKER_BACK_SECONDS),
            ),
            log=log,
            measures=duty.measures,
            renewed=http.start_over,
            may_act=may_act,
        )
        self._threads: list[Steady] = []
        if mode is not Mode.OFF:
            self._threads.append(Steady("judge", JUDGE_SECONDS, self._acting.go_round))
            if "web" in roles:
                self._threads.append(Steady("control", ASK_SECONDS, control.ask))

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        for thread in self._threads:
            thread.stop(wait=1.0)
        self._acting.leave()


def read_limits(texts: list[str]) -> dict[str, float]:
    """Read --limit NAME=SECONDS; a wrong one is refused with what there is."""
    limits = {}
    for text in texts:
        name, _, seconds = text.partition("=")
        if name not in LIMITS:
            raise CommandError(
                f"--limit: {name} is not one of {', '.join(sorted(LIMITS))}"
            )
        try:
            limits[name] = float(seconds)
        except ValueError:
            limits[name] = -1.0
        if not 0 <= limits[name] <= DAY:
            raise CommandError(f"--limit {name}: {seconds!r} is not 0 to {DAY:.0f}")
    return limits


def pick(kind: type[T], limits: dict[str, float]) -> T:
    """Make limits or a budget of the values that are its own."""
    names = {one.name for one in fields(kind)}
    return replace(kind(), **{name: limits[name] for name in names & set(limits)})


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
