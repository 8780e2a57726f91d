"""Processes that hammer one dependency that dies and returns twice.

``python -m tests.breakers.hammer SECONDS PROCESSES THREADS`` in a site's environment;
prints what came of it as JSON: it forks its processes, so that a fork is tested too.
"""

import json
import logging
import os
import sys
import tempfile
import threading
import time
from math import inf
from pathlib import Path

import django

django.setup()

from breakers import CallRefusedError, get_breaker, on_transition  # noqa: E402
from ledger import audit, sequencer, spool  # noqa: E402
from ledger.models import Artifact  # noqa: E402

SECONDS, PROCESSES, THREADS = float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
FOLDER = Path(tempfile.mkdtemp())
DEAD = FOLDER / "dead"
# Shares of the run at which the dependency dies and lives again.
DIES = ((0.1, 0.25), (0.55, 0.7))
# Refusals closer together than this are noted as one.
GRAIN = 0.02


def reach():
    if DEAD.exists():
        raise ConnectionError("down")


def hammer(breaker, until):
    """Call from many threads; note when calls were refused and what moved."""
    refused, moves, counts = [0.0], [], {"ok": 0, "failed": 0, "refused": 0}
    on_transition(
        lambda move: moves.append(
            [move.at.timestamp(), move.old, move.new, move.adopted]
        )
    )

    def loop():
        while time.time() < until:
            try:
                breaker.execute(reach)
                counts["ok"] += 1
            except CallRefusedError:
                counts["refused"] += 1
                if time.time() - refused[-1] > GRAIN:
                    refused.append(time.time())
            except ConnectionError:
                counts["failed"] += 1
            time.sleep(0.002)

    threads = [threading.Thread(target=loop) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {
        "refused": refused[1:],
        "moves": moves,
        "counts": counts,
        "state": breaker.state,
    }


def fork_all(breaker, until):
    readers = []
    for _ in range(PROCESSES):
        reader, writer = os.pipe()
        if os.fork() == 0:
            os.close(reader)
            told = hammer(breaker, until)
            with os.fdopen(writer, "w") as out:
                json.dump(told, out)
            sys.exit(0)  # the way a process ends: what it has left is drained
        os.close(writer)
        readers.append(reader)
    return readers


def main():
    logging.disable()
    breaker = get_breaker(
        "hammered", failure_threshold=5, reset_timeout=1.0, timeout=2.0
    )
    breaker.execute(lambda: None)
    started = time.time()
    readers = fork_all(breaker, started + SECONDS)
    for dies, lives in DIES:
        time.sleep(max(0.0, started + SECONDS * dies - time.time()))
        DEAD.touch()
        time.sleep(max(0.0, started + SECONDS * lives - time.time()))
        DEAD.unlink()
    told = []
    for reader in readers:
        with os.fdopen(reader) as answer:
            told.append(json.load(answer))
    for _ in readers:
        os.wait()
    sys.stdout.write(json.dumps(judge(told)) + "\n")


def judge(told):
    """Count artifacts, and refusals more than a second after a circuit closed."""
    spool.adopt()
    spool.ship()
    sequencer.sequence_all()
    moves = sorted(move for one in told for move in one["moves"])
    closed = [at for at, _, new, adopted in moves if new == "CLOSED" and not adopted]
    tripped = [at for at, old, new, adopted in moves if old == "CLOSED" and not adopted]
    refused = [at for one in told for at in one["refused"]]
    late = [
        at
        for end in closed
        for at in refused
        # The gate shuts a moment before its move is dated.
        if end + 1.0 < at < min([t for t in tripped if t > end], default=inf) - GRAIN
    ]
    kinds = list(
        Artifact.objects.filter(subject="breaker:hammered")
        .order_by("at")
        .values_list("type", flat=True)
    )
    return {
        "artifacts": kinds,
        "late": len(late),
        "latest": max(
            (at - max(t for t in closed if t < at) for at in late), default=0
        ),
        "states": sorted({one["state"] for one in told}),
        "counts": {
            key: sum(one["counts"][key] for one in told)
            for key in ("ok", "failed", "refused")
        },
        "verified": audit.look().ok,
    }


if __name__ == "__main__":
    main()
