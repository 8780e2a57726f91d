"""A thread a dependency; the reader keeps the deadline, so a hung thread is a fail."""

import contextlib
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import replace

from health.dependencies import Dependency, Finding
from health.snapshot import (
    CheckResult,
    Outcome,
    State,
    first_result,
    next_result,
    overdue_runs,
)

logger = logging.getLogger(__name__)


class CheckThread(threading.Thread):
    """Examine one dependency again and again; it may hang without harm."""

    def __init__(self, dependency: Dependency, period: float) -> None:
        """Keep what is shared: the run that is under way and the last outcome."""
        super().__init__(name=f"check-{dependency.name}", daemon=True)
        self.dependency = dependency
        self.period = dependency.period or period
        # One attribute each, replaced whole: a reader never sees half a run.
        self.under_way: tuple[int, int] | None = None
        self.last: tuple[int, Outcome] | None = None
        self._stop_wanted = threading.Event()

    def run(self) -> None:
        """Look, note, wait for the rest of the period."""
        number = 0
        while not self._stop_wanted.is_set():
            number += 1
            started = time.monotonic_ns()
            self.under_way = (number, started)
            outcome = self._look(started)
            self.last = (number, outcome)
            self.under_way = None
            self._stop_wanted.wait(max(0.0, self.period - outcome.duration))
        self._let_go()

    def stop(self) -> None:
        """Ask the thread to end after the run that is under way."""
        self._stop_wanted.set()

    def _look(self, started: int) -> Outcome:
        try:
            finding = self.dependency.check()
        except Exception as error:  # noqa: BLE001 - the rim: whatever it raises is a fail
            self._let_go()
            finding = Finding(State.FAIL, f"{type(error).__name__}: {error}"[:200])
        now = time.monotonic_ns()
        return Outcome(
            state=finding.state,
            at=time.time(),
            at_ns=now,
            duration=(now - started) / 1e9,
            error=finding.error,
        )

    def _let_go(self) -> None:
        with contextlib.suppress(Exception):
            self.dependency.close()


class Watched:
    """One check as the reader sees it: damped, and charged for what is overdue."""

    def __init__(self, thread: CheckThread, timeout: float) -> None:
        """Begin with no result."""
        self.thread = thread
        self.result: CheckResult | None = None
        self._timeout = timeout
        self._seen = 0
        self._charged_run = 0
        self._charges = 0

    def read(self, now: float, now_ns: int) -> CheckResult | None:
        """Take in what the thread has finished and what it failed to finish."""
        last, under_way = self.thread.last, self.thread.under_way
        if last is not None and last[0] > self._seen:
            self._seen = last[0]
            # A run that was charged already must not count twice when it fails late.
            if last[0] != self._charged_run or last[1].state is not State.FAIL:
                self._feed(last[1])
        if under_way is not None and under_way[0] > self._seen:
            self._charge(under_way, now, now_ns)
        return self.result

    def _charge(self, under_way: tuple[int, int], now: float, now_ns: int) -> None:
        number, started = under_way
        if number != self._charged_run:
            self._charges = 0
        due = overdue_runs(
            started, now_ns, period=self.thread.period, timeout=self._timeout
        )
        for _ in range(due - self._charges):
            self._charged_run = number
            self._feed_overdue(now, started, now_ns)
        self._charges = max(self._charges, due)

    def _feed(self, outcome: Outcome) -> None:
        if self.result is None:
            dependency = self.thread.dependency
            self.result = first_result(
                dependency.name, outcome, required=dependency.required
            )
        else:
            self.result = next_result(self.result, outcome)

    def _feed_overdue(self, now: float, started: int, now_ns: int) -> None:
        before = self.result
        self._feed(
            Outcome(
                state=State.FAIL,
                at=now,
                at_ns=now_ns,
                duration=(now_ns - started) / 1e9,
                error=f"no answer within {self._timeout:g} s",
            )
        )
        if before is not None and self.result is not None:
            # Its last completed run stays where it was, so that its age grows.
            self.result = replace(self.result, at=before.at, at_ns=before.at_ns)


class Sampler:
    """All checks of one holder of the lock."""

    def __init__(
        self,
        dependencies: Sequence[Dependency],
        *,
        period: float = 2.0,
        timeout: float = 2.0,
        before: Sequence[CheckResult] = (),
    ) -> None:
        """Carry on from the results of the holder before, so that damping goes on."""
        self.dependencies = list(dependencies)
        self._watched = [
            Watched(CheckThread(dependency, period), timeout)
            for dependency in self.dependencies
        ]
        self._before = {check.name: check for check in before}
        self._complete = False

    def start(self) -> None:
        """Begin to look."""
        for watched in self._watched:
            watched.thread.start()

    def stop(self) -> None:
        """Ask every thread to end; a hung one is left behind."""
        for watched in self._watched:
            watched.thread.stop()

    def collect(self, now: float, now_ns: int) -> tuple[CheckResult, ...] | None:
        """Return every result, or nothing until every check has one."""
        results = [watched.read(now, now_ns) for watched in self._watched]
        complete = [result for result in results if result is not None]
        if len(complete) < len(results):
            return None
        if not self._complete:
            self._complete = True
            complete = [self._carry_on(watched) for watched in self._watched]
        return tuple(complete)

    def _carry_on(self, watched: Watched) -> CheckResult:
        """Damp the first result of this holder with what the one before knew."""
        result = watched.result
        if result is None:
            raise RuntimeError("carried on before the check had a result")
        before = self._before.get(result.name)
        if before is not None:
            outcome = Outcome(
                result.state, result.at, result.at_ns, result.duration, result.error
            )
            result = replace(next_result(before, outcome), required=result.required)
            watched.result = result
        return result
