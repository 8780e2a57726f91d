"""The watchdog's hands: judge once a second, act, follow up, and say so.

A thread of its own: nothing here waits for a database, a broker or a server.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog
from django.conf import settings

from health.actions import Case, begin, finish, follow, refuse, subject_of
from health.budget import Spending
from health.dumps import sweep_dumps
from health.judge import TICKING, Act, Decision, Facts, Judge, Kind, Refusal
from health.metrics import Measures
from health.places import machine_boot, run_dir
from health.processes import Identity
from health.snapshots import replace_file
from health.watchlog import WatchLog
from health.witness import Witness

logger = structlog.get_logger(__name__)
JUDGE_SECONDS = 1.0
SWEEP_SECONDS = 60.0
# Whoever has not been replaced by then is waited for no longer.
GIVE_UP_SECONDS = 900.0
REMEMBERED = 1000
TARGETS = {Kind.CHILD: "worker"}


@dataclass(frozen=True, slots=True)
class Wait:
    """A place that is to be taken by another process."""

    decision: Decision
    before: frozenset[Identity]


class Acting:
    """Go round once a second while this process holds the sampler lock."""

    def __init__(
        self,
        *,
        judge: Judge,
        witness: Witness,
        log: WatchLog,
        measures: Measures,
        renewed: Callable[[], None],
        may_act: Callable[[], bool],
    ) -> None:
        """Take the parts; nothing runs until it goes round."""
        self._judge, self._witness = judge, witness
        self._log, self._measures = log, measures
        self._renewed, self._may_act = renewed, may_act
        self._cases: list[Case] = []
        self._waits: list[Wait] = []
        self._refused: dict[tuple[str, ...], None] = {}
        self._swept_ns = 0
        self._patience = settings.GRACEFUL_TIMEOUT + 5.0

    def go_round(self) -> None:
        """Follow what is under way, then judge and act on what is new."""
        if not self._may_act():
            return
        now_ns = time.monotonic_ns()
        self._measures.beats["judge"] = time.time()
        facts = self._witness.facts(now_ns, frozenset(c.target for c in self._cases))
        self._follow(now_ns)
        self._greet(facts)
        for found in self._judge.judge(facts):
            if isinstance(found, Refusal):
                self._refuse(found)
            else:
                self._act(found, facts)
        if now_ns - self._swept_ns >= SWEEP_SECONDS * 1e9:
            self._swept_ns = now_ns
            sweep_dumps()

    def leave(self) -> None:
        """Say of what is under way that nobody waited for its end."""
        while self._cases:
            finish(self._cases.pop(), "left: the watchdog stopped")

    def _act(self, decision: Decision, facts: Facts) -> None:
        save_spending(self._judge.spending)
        case = begin(decision)
        if isinstance(case, str):
            self._count(decision, "refused_identity")
            logger.warning(
                "watchdog_too_late", who=subject_of(decision.target), why=case
            )
            return
        self._cases.append(case)
        if decision.act is Act.HUP or decision.target.kind is Kind.MASTER:
            self._renewed()
        kind = Kind.WORKER if decision.act is Act.HUP else decision.target.kind
        self._waits.append(Wait(decision, _of_kind(kind, facts)))
        self._say("kill", decision, action=decision.act.value, **decision.evidence)
        self._follow(time.monotonic_ns())

    def _follow(self, now_ns: int) -> None:
        for case in list(self._cases):
            result = follow(case, now_ns, patience=self._patience)
            if result:
                self._cases.remove(case)
                finish(case, result)
                self._settle(case.decision, result)

    def _settle(self, decision: Decision, result: str) -> None:
        is_done = result in {"gone", "sent"}
        self._count(decision, "done" if is_done else "failed")
        if result == "gone":
            kind = decision.target.kind
            target = TARGETS.get(kind, kind.value)
            self._measures.restarts[target, decision.rule.value] += 1

    def _greet(self, facts: Facts) -> None:
        """See who has taken the place of whoever was ended."""
        for wait in list(self._waits):
            since = (facts.now_ns - wait.decision.since_ns) / 1e9
            if _is_replaced(wait, facts):
                self._waits.remove(wait)
                rule = wait.decision.rule.value
                self._measures.recoveries.observe(rule, since)
                self._say("recover", wait.decision, seconds=round(since, 1))
            elif since > GIVE_UP_SECONDS:
                self._waits.remove(wait)

    def _refuse(self, refusal: Refusal) -> None:
        """Write a refusal down once; the metric counts those too."""
        if refusal.key in self._refused:
            return
        self._refused[refusal.key] = None
        if len(self._refused) > REMEMBERED:
            self._refused.pop(next(iter(self._refused)))
        save_spending(self._judge.spending)
        refuse(refusal)
        self._count(refusal.wanted, refusal.reason.value)

    def _count(self, decision: Decision, result: str) -> None:
        self._measures.decisions[decision.act.value, result] += 1

    def _say(self, line: str, decision: Decision, **details: object) -> None:
        try:
            self._log.write(
                line,
                subject=subject_of(decision.target),
                rule=decision.rule.value,
                **details,
            )
        except OSError:
            logger.warning("watchdog_log_not_written", exc_info=True)


def _of_kind(kind: Kind, facts: Facts) -> frozenset[Identity]:
    if kind is Kind.MASTER:
        kind = Kind.WORKER
    return frozenset(one.identity for one in facts.processes if one.kind is kind)


def _is_replaced(wait: Wait, facts: Facts) -> bool:
    """Tell whether somebody new of that kind ticks."""
    kind = wait.decision.target.kind
    kind = Kind.WORKER if kind is Kind.MASTER else kind
    return any(
        one.kind is kind
        and one.identity not in wait.before
        and one.slot is not None
        and one.slot.age(facts.now_ns) <= TICKING
        for one in facts.processes
    )


def spending_file() -> Path:
    """Return where the budget is kept, so that a restart does not renew it."""
    return run_dir() / "budget.json"


def save_spending(spending: dict[str, Spending]) -> None:
    """Keep what was spent; on a full disk it is remembered by this process alone."""
    body = {
        "boot": machine_boot(),
        "spending": {part: asdict(spent) for part, spent in spending.items()},
    }
    try:
        replace_file(spending_file(), json.dumps(body))
    except OSError:
        logger.warning("budget_not_kept", exc_info=True)


def load_spending() -> dict[str, Spending]:
    """Return what was spent in this boot of the machine; nonsense is nothing."""
    try:
        body = json.loads(spending_file().read_bytes())
        if body["boot"] != machine_boot():
            return {}
        return {
            str(part): Spending(
                actions_ns=tuple(map(int, spent["actions_ns"])),
                hold_until_ns=int(spent["hold_until_ns"]),
                holds=int(spent["holds"]),
                deaf_ns=int(spent["deaf_ns"]),
            )
            for part, spent in body["spending"].items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}
