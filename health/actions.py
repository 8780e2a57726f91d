"""Carry a decision out: intent on disk, the signal to that very process, the outcome.

A process is signalled through a descriptor of its own (pidfd): between the last look
and the signal its number may be given to another, the descriptor may not.
"""

import os
import select
import signal
import time
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import structlog

from health.dumps import ASK, Dump, can_dump, wait_for_dump
from health.instances import instance_name
from health.judge import Act, Decision, Process, Refusal, Rule
from health.processes import Identity, look_at
from ledger.services import ArtifactType, Source, emit

logger = structlog.get_logger(__name__)
DUMP_SECONDS = 0.5
# What SIGKILL needs is milliseconds; a process in a hung disk's wait takes longer.
DEATH_SECONDS = 5.0
SENTENCES = {
    Rule.MASTER_HUNG: "the web master does not answer",
    Rule.WORKER_FROZEN: "its heartbeat stopped",
    Rule.WORKER_STUCK: "every thread it admits requests to is stuck",
    Rule.WORKER_MEMORY: "it takes more memory than it may",
    Rule.HTTP: "liveness was not answered over HTTP, several times in a row",
    Rule.MAIN_FROZEN: "the Celery worker's loop stands still",
    Rule.MAIN_DEAF: "its queue's canaries are sent, and it takes none",
    Rule.CHILD_STUCK: "its task runs far beyond its limit",
    Rule.CHILD_FROZEN: "its heartbeat stopped",
    Rule.BEAT_LATE: "beat's loop stands still",
}


@dataclass(slots=True)
class Case:
    """One decision under way, from its intent to its outcome."""

    decision: Decision
    intent: UUID
    descriptor: int
    began_ns: int
    dump: Dump | None = None
    steps: list[str] = field(default_factory=list)
    killed_ns: int = 0

    @property
    def target(self) -> Identity:
        """Return whom it is about."""
        return self.decision.target.identity

    def is_gone(self) -> bool:
        """Tell whether the process has ended."""
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN)
        return bool(poll.poll(0))


def subject_of(process: Process) -> str:
    """Return what artifacts call it."""
    return f"process:{instance_name(process.part)}/{process.identity.pid}"


def _frame(decision: Decision) -> dict[str, Any]:
    return {
        "source": Source.WATCHDOG,
        "subject": subject_of(decision.target),
        "actor": "watchdog",
        "action": decision.act.value,
        "rule": decision.rule.value,
        "reason": SENTENCES[decision.rule],
    }


def _details(decision: Decision) -> dict[str, Any]:
    return dict(decision.evidence)


def begin(decision: Decision) -> Case | str:
    """Write the intent, ask for a dump, send the first signal.

    Returns the case to follow, or why nothing was done.
    """
    try:
        descriptor = os.pidfd_open(decision.target.identity.pid)
    except OSError as error:
        return f"no descriptor: {error.strerror}"
    why = _why_not(decision.target)
    if why:
        os.close(descriptor)
        return why
    intent = emit(
        type=ArtifactType.WATCHDOG_INTENT,
        durable=True,
        **_frame(decision),
        **_details(decision),
    )
    case = Case(decision, intent, descriptor, time.monotonic_ns())
    case.dump = _ask_for_dump(case)
    send(case, signal.Signals[decision.act.value])
    return case


def _why_not(target: Process) -> str:
    """Look once more, now that the descriptor fixes who is meant."""
    look = look_at(target.identity)
    if look is None:
        return "it is gone"
    if look.parent != target.parent:
        return "its parent is another one by now"
    return "" if look.owner == os.getuid() else "it belongs to another user"


def _ask_for_dump(case: Case) -> Dump | None:
    target = case.decision.target
    if case.decision.act is Act.HUP or target.state == "T":
        return None
    if case.decision.rule is Rule.WORKER_MEMORY or not can_dump(target.identity):
        return None
    try:
        signal.pidfd_send_signal(case.descriptor, ASK)
    except OSError:
        return None
    return wait_for_dump(target.identity, seconds=DUMP_SECONDS)


def send(case: Case, number: signal.Signals) -> None:
    """Send a signal and note that it was."""
    try:
        signal.pidfd_send_signal(case.descriptor, number)
        case.steps.append(number.name)
    except ProcessLookupError:
        case.steps.append("already gone")
    except OSError as error:
        case.steps.append(f"{number.name} refused: {error.strerror}")
    if number is signal.SIGKILL:
        case.killed_ns = time.monotonic_ns()


def follow(case: Case, now_ns: int, *, patience: float) -> str:
    """Go on with a case; return its result once it has one."""
    decision = case.decision
    if decision.act is Act.HUP:
        return "sent"
    if case.is_gone():
        return "gone"
    waited = (now_ns - case.began_ns) / 1e9
    if case.killed_ns:
        over = now_ns - case.killed_ns > DEATH_SECONDS * 1e9
        return "still there" if over else ""
    if decision.then_kill and waited >= decision.then_kill:
        send(case, signal.SIGKILL)
    elif not decision.then_kill and waited >= patience:
        return "still there"
    return ""


def finish(case: Case, result: str) -> None:
    """Write the outcome; whoever reads an intent without one knows that we died."""
    os.close(case.descriptor)
    details = _details(case.decision)
    if case.dump is not None:
        details |= {
            "dump_file": case.dump.file,
            "dump_sha256": case.dump.sha256,
            "dump": case.dump.first,
        }
    emit(
        type=ArtifactType.WATCHDOG_OUTCOME,
        **_frame(case.decision),
        result=result,
        intent=str(case.intent),
        signals=list(case.steps),
        took_ms=(time.monotonic_ns() - case.began_ns) // 1_000_000,
        **details,
    )


def refuse(refusal: Refusal) -> None:
    """Write down what was not done, with what spoke for it."""
    wanted = refusal.wanted
    emit(
        type=ArtifactType.WATCHDOG_REFUSED,
        **{**_frame(wanted), "reason": refusal.detail},
        refused=refusal.reason.value,
        **_details(wanted),
    )
    logger.warning(
        "watchdog_refused",
        who=subject_of(wanted.target),
        rule=wanted.rule.value,
        why=refusal.detail,
    )
