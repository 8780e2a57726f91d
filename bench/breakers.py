"""What a guarded call costs, beside a bare one and the rivals: `python -m bench.breakers`.

Each line is `what | target | measured | ok or missed`. Ours and the rivals take turns,
each sample beside a bare call of the same moment; ratios are medians of rounds. The
rivals live in an environment and a process of their own. What a fleet costs is measured
elsewhere: it needs Redis and a database.
"""

import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from bench.calls import ROWS, Guard, Work, herd, no_collector, timed, work
from breakers import CallTimeoutError, CircuitBreaker, CircuitOpenError

HERE = Path(__file__).parent
ROUNDS = 25
# A breaker under test trips on nothing but what its row counts.
NEVER = 1_000_000_000
_numbers = count()
Sample = dict[str, float]


# -- Ours --------------------------------------------------------------------------
def build(threshold: int, reset: float, **options: Any) -> CircuitBreaker:
    """Build a breaker whose window is on and whose rate does not trip it first."""
    known = {"timeout": None, "failure_rate_threshold": 1.0, **options}
    return CircuitBreaker(
        f"bench-{next(_numbers)}",
        failure_threshold=threshold,
        reset_timeout=reset,
        **known,
    )


def spelled(how: str, **options: Any) -> Guard:
    """Return our guard as one of its three spellings."""

    def fresh(threshold: int, reset: float) -> Guard:
        breaker = build(threshold, reset, **options)
        breaker.execute(work)  # the first call starts what a breaker needs
        return Guard(
            fresh,
            CircuitOpenError,
            call=breaker.execute if how == "execute" else None,
            wrap=breaker if how == "decorator" else None,
            acall=breaker.aexecute,
        )

    return fresh(NEVER, 3600.0)


# -- Theirs ------------------------------------------------------------------------
def rivals_python() -> Path | None:
    """Return the Python of the rivals' environment, made on demand."""
    python = HERE / ".venv" / "bin" / "python"
    wanted = (HERE / "requirements.txt").read_text()
    done = HERE / ".venv" / ".breakers"
    if done.exists() and done.read_text() == wanted:
        return python
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", HERE / ".venv"], check=True)
    install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    listed = ["-r", HERE / "requirements.txt"]
    if subprocess.run([*install, *listed], check=False).returncode:
        return None
    done.write_text(wanted)
    return python


@contextmanager
def rivals() -> Iterator[Callable[[str], Sample]]:
    """Yield a function that lets every rival run one row; none installed: nothing."""
    python = rivals_python()
    if python is None:
        say("rivals", "installed", "not to be had", ok=False)
        yield lambda row: {}
        return
    command = [python, "-m", "bench.rival.breakers"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command, cwd=HERE.parent, stdin=pipe, stdout=pipe, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None

    def ask(row: str) -> Sample:
        process.stdin.write(f"{row}\n")
        process.stdin.flush()
        answer: Sample = json.loads(process.stdout.readline())
        return answer

    try:
        yield ask
    finally:
        process.stdin.close()
        process.wait(30)


# -- Lines -------------------------------------------------------------------------
def say(what: str, target: str, measured: str, *, ok: bool) -> None:
    """Print one line."""
    print(f"{what} | {target} | {measured} | {'ok' if ok else 'missed'}", flush=True)


def limited(what: str, limit: float, values: list[float], others: str = "") -> float:
    """Print the median of a row beside its limit and the rivals'."""
    value = statistics.median(values)
    text = f"{value:.2f}x{f' ({others})' if others else ''}"
    say(what, f"<= {limit}x", text, ok=value <= limit)
    return value


def listed(samples: list[Sample]) -> str:
    """Return the rivals' medians, the best first."""
    names = samples[0] if samples else {}
    medians = {n: statistics.median(one[n] for one in samples) for n in names}
    return ", ".join(f"{n} {medians[n]:.1f}" for n in sorted(medians, key=medians.get))  # type: ignore[arg-type]


def rounds(
    row: str,
    ours: dict[str, Guard],
    ask: Callable[[str], Sample],
    *,
    most: int = ROUNDS,
    theirs: int = 9,
) -> tuple[dict[str, list[float]], str]:
    """Let ours and theirs take turns; theirs sit out once their medians stand."""
    mine: dict[str, list[float]] = {name: [] for name in ours}
    other = []
    for turn in range(most):
        for name, guard in ours.items():
            mine[name].append(ROWS[row](guard))
        if turn < theirs:
            other.append(ask(row))
    return mine, listed(other)


# -- Rows --------------------------------------------------------------------------
def closed(ask: Callable[[str], Sample]) -> None:
    """Closed, alone and in a crowd, with and without a deadline."""
    ours = {how: spelled(how) for how in ("decorator", "execute")}
    ours |= {f"{how}, deadline": spelled(how, timeout=2.0) for how in list(ours)}
    mine, others = rounds("closed", ours, ask)
    crowd, crowded_others = rounds("crowded", ours, ask, most=9, theirs=3)
    for name, values in mine.items():
        late = "deadline" in name
        others = "" if late else others
        limited(f"closed, 1 thread, {name}", 16 if late else 8, values, others)
    for name, values in crowd.items():
        what = f"closed, 16 threads beside 1, {name}"
        alone = statistics.median(mine[name])
        beside = "" if "deadline" in name else f"of bare: {crowded_others}"
        limited(what, 1.1, [value / alone for value in values], beside)


def opened(ask: Callable[[str], Sample]) -> None:
    """Refused, raised or answered by the fallback."""
    ours = {how: spelled(how) for how in ("decorator", "execute")}
    mine, others = rounds("refused", ours, ask)
    for name, values in mine.items():
        limited(f"open, raises, {name}", 28, values, others)
    ours = {how: spelled(how, fallback=work) for how in ("decorator", "execute")}
    mine, _ = rounds("refused", ours, ask, theirs=0)
    for name, values in mine.items():
        limited(f"open, fallback, {name}", 9, values)


def failing(ask: Callable[[str], Sample]) -> None:
    """A call that fails, the window weighed each time."""
    ours = {how: spelled(how) for how in ("decorator", "execute")}
    ours["execute, deadline"] = spelled("execute", timeout=2.0)
    mine, others = rounds("failing", ours, ask)
    for name, values in mine.items():
        limited(f"failing call beside raise and catch, {name}", 10, values, others)


def awaited(ask: Callable[[str], Sample]) -> None:
    """A coroutine."""
    mine, others = rounds("awaited", {"aexecute": spelled("execute")}, ask)
    limited("async closed beside await", 4, mine["aexecute"], others)
    # No limit was set for this one; asyncio.timeout alone is 50x an await.
    late = {"aexecute": spelled("execute", timeout=2.0)}
    values = rounds("awaited", late, ask, most=9, theirs=0)[0]["aexecute"]
    print(f"async closed with deadline | | {statistics.median(values):.2f}x |")


@contextmanager
def one_processor() -> Iterator[None]:
    """Keep this thread, and those it starts, on one processor where that can be said."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def isolated() -> None:
    """A thread of the pool beside `submit().result()` of the standard one."""
    breaker = build(NEVER, 60.0, timeout=2.0, isolation="thread")
    pool = ThreadPoolExecutor(8)

    def many(one: Work) -> float:
        return timed(lambda: [one() for _ in range(300)], clock=time.perf_counter)

    def ours() -> object:
        return breaker.execute(work)

    def bare() -> object:
        return pool.submit(work).result(2.0)

    # On one processor: on two it is chance which of them pays for waking the other.
    with one_processor():
        many(ours), many(bare)
        with no_collector():
            ratios = [many(ours) / many(bare) for _ in range(ROUNDS)]
    pool.shutdown()
    limited('isolation="thread" beside a bare pool', 1.2, ratios)


def hung() -> None:
    """Callers of a dependency that hangs leave at the deadline, the pool comes back."""
    breaker = build(NEVER, 60.0, timeout=2.0, isolation="thread")
    before, release, waits = threading.active_count(), threading.Event(), []

    def caller() -> None:
        started = time.perf_counter()
        try:
            breaker.execute(release.wait)
        except CallTimeoutError:
            waits.append(time.perf_counter() - started)

    callers = [threading.Thread(target=caller) for _ in range(8)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join()
    release.set()
    pool, end = breaker._pool, time.monotonic() + 5
    while pool is not None and pool.taken and time.monotonic() < end:
        time.sleep(0.01)
    left = pool.taken if pool is not None else 8
    well = len(waits) == 8 and max(waits) <= 2.2
    said = f"{min(waits):.2f}-{max(waits):.2f} s" if waits else "never"
    say("8 hung callers, freed after", "2.0-2.2 s", said, ok=well)
    grown = threading.active_count() - before
    text = f"{left} taken, {grown} threads"
    ok = left == 0 and grown <= 8
    say("hung calls returned", "0 taken, <= 8 threads", text, ok=ok)


def blocking(ask: Callable[[str], Sample]) -> None:
    """Eight threads blocking for 5 ms: nobody waits for another."""
    ours = {"": spelled("execute")}
    mine, others = rounds("blocking", ours, ask, most=9, theirs=3)
    limited("8 threads blocking beside unguarded", 1.03, mine[""], others)


def herds(ask: Callable[[str], Sample]) -> None:
    """Fifty callers find an open time that is over."""
    found = [herd(spelled("execute")) for _ in range(5)]
    reached = max(number for number, _ in found)
    others = ", ".join(f"{name} {number:.0f}" for name, number in ask("herd").items())
    what = "50 callers at an expired OPEN: reach"
    say(what, "1", f"{reached} ({others})", ok=reached == 1)
    slowest = 1000 * statistics.median(seconds for _, seconds in found)
    what = "the 49 others: slowest refusal, processor time"
    say(what, "< 1 ms", f"{slowest:.2f} ms", ok=slowest < 1)


def main() -> None:
    """Measure every row."""
    with rivals() as ask:
        for part in (closed, opened, failing, awaited, blocking, herds):
            part(ask)
    isolated()
    hung()


if __name__ == "__main__":
    main()
