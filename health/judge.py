"""What the watchdog does next, from what was seen: rules, gates, budget. Pure.

No clock and no I/O: facts come in with the moment they were seen, decisions and
refusals go out. Whoever carries a decision out checks the target once more.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from health.budget import Budget, Spending
from health.canary import PERIODS, Sight, canary_is_late
from health.processes import Identity
from health.slots import FRESH_SECONDS, SlotReading

AGAIN_SECONDS = 600.0
TICKING = 2.0
DAY = 86400.0
Evidence = dict[str, int | str]


class Kind(StrEnum):
    """Which kind of process may be acted on; the values are labels of metrics."""

    WORKER = "worker"
    MASTER = "master"
    MAIN = "celery"
    CHILD = "child"
    BEAT = "beat"


class Act(StrEnum):
    """What may be done to a process, smallest first."""

    TERM = "SIGTERM"
    HUP = "SIGHUP"
    KILL = "SIGKILL"


class Mode(StrEnum):
    """How far the watchdog may go."""

    OFF = "off"
    OBSERVE = "observe"
    WORKERS = "workers"
    ENFORCE = "enforce"


class Rule(StrEnum):
    """Why a process is acted on."""

    MASTER_HUNG = "master_hung"
    WORKER_FROZEN = "worker_frozen"
    WORKER_STUCK = "worker_stuck"
    WORKER_MEMORY = "worker_memory"
    HTTP = "http_strikes"
    MAIN_FROZEN = "main_frozen"
    MAIN_DEAF = "main_deaf"
    CHILD_STUCK = "child_stuck"
    CHILD_FROZEN = "child_frozen"
    BEAT_LATE = "beat_late"


class Why(StrEnum):
    """Why a decision is refused; the values are labels of metrics."""

    BUDGET = "refused_budget"
    IDENTITY = "refused_identity"
    DRAINING = "refused_draining"
    DEPENDENCY = "refused_dependency"
    REPEAT = "refused_repeat"
    OBSERVE = "observe_only"


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds from which something is wrong; tests and operators may shorten them."""

    worker_frozen: float = 8.0
    worker_stuck: float = 30.0
    master_stopped: float = 8.0  # the kernel says so: surer than silence
    master_hung: float = 10.0
    main_frozen: float = 30.0
    deaf: float = 90.0  # three periods of a canary
    child_frozen: float = 30.0
    child_stuck: float = 60.0  # beyond the limit of its task
    beat_late: float = 40.0  # 2 x beat_max_loop_interval + 30
    grace: float = 10.0  # of a process that has just begun
    late: float = 2.0  # between two ticks of the watchdog itself
    void: float = 8.0  # after a late tick nobody is acted on
    terminate: float = 5.0  # between SIGTERM and SIGKILL


@dataclass(frozen=True, slots=True)
class Process:
    """One process as it was seen: by its slot, and by the kernel."""

    part: str  # whose budget and hold it is: web, worker or beat
    kind: Kind
    identity: Identity
    up: float
    state: str  # the kernel's letter; T is stopped
    parent: int = 0
    fault: str = ""  # why it is not ours to signal; empty if it is
    slot: SlotReading | None = None
    task_limit: float = 0.0


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is known at one moment."""

    now_ns: int
    processes: Sequence[Process] = ()
    master: Process | None = None
    silent: float = 0.0  # how long the control socket has not answered
    struck_out: bool = False  # the HTTP rule
    holds: Mapping[str, str] = field(default_factory=dict)
    draining: bool = False
    sights: Sequence[Sight] = ()  # the queues, by their canaries
    broker_well: bool = True
    busy: frozenset[Identity] = frozenset()  # being acted on already


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do to whom, and why."""

    act: Act
    target: Process
    rule: Rule
    since_ns: int
    evidence: Evidence
    then_kill: float = 0.0  # seconds until SIGKILL if it is still there


@dataclass(frozen=True, slots=True)
class Refusal:
    """What would have been done, and why it is not."""

    reason: Why
    wanted: Decision
    detail: str = ""
    until_ns: int = 0  # the end of the hold that the budget began

    @property
    def key(self) -> tuple[str, ...]:
        """Return what makes two refusals one."""
        wanted = self.wanted
        who, rule = str(wanted.target.identity), wanted.rule.value
        return who, rule, self.reason.value, self.detail, str(self.until_ns)


class Judge:
    """Decide, second by second; it remembers what was spent and when it ticked."""

    def __init__(
        self,
        *,
        mode: Mode,
        limits: Limits | None = None,
        spending: Mapping[str, Spending] | None = None,
        budget: Budget | None = None,
    ) -> None:
        """Go on with what a judge before has spent."""
        self.mode = mode
        self.limits = limits or Limits()
        self.budget = budget or Budget()
        self.spending: dict[str, Spending] = dict(spending or {})
        self._ticked_ns: int | None = None
        self._void_until_ns = 0
        self._stopped_ns: dict[Identity, int] = {}
        self._hup_ns: int | None = None

    def judge(self, facts: Facts) -> list[Decision | Refusal]:
        """Return what to do now; whatever is returned as a decision is spent."""
        is_void = self._is_void(facts.now_ns)
        self._note_stopped(facts)
        wanted = list(self._wanted(facts))
        self._note_well(facts, wanted)
        if is_void or self.mode is Mode.OFF:
            return []
        return [found for want in wanted if (found := self._gate(want, facts))]

    def _is_void(self, now_ns: int) -> bool:
        """Tell whether we stood still ourselves a moment ago, or have just begun.

        After a pause of the whole machine every slot looks old: voiding one round led
        to two false kills, voiding 8 s to none.
        """
        last, self._ticked_ns = self._ticked_ns, now_ns
        if last is None or not 0 <= now_ns - last <= self.limits.late * 1e9:
            self._void_until_ns = now_ns + int(self.limits.void * 1e9)
        return now_ns < self._void_until_ns

    def _note_stopped(self, facts: Facts) -> None:
        stopped = {
            one.identity
            for one in (*facts.processes, facts.master)
            if one is not None and one.state == "T"
        }
        self._stopped_ns = {
            who: self._stopped_ns.get(who, facts.now_ns) for who in stopped
        }

    def _note_well(self, facts: Facts, wanted: Sequence[Decision]) -> None:
        ill = {want.target.part for want in wanted}
        for part, spent in self.spending.items():
            self.spending[part] = self.budget.note(
                spent, well=part not in ill, now_ns=facts.now_ns
            )

    # -- Rules -------------------------------------------------------------------------
    def _wanted(self, facts: Facts) -> Iterator[Decision]:
        master = facts.master
        yield from self._master(facts)
        for one in facts.processes:
            # Nobody would replace a worker while its master stands still.
            if one.kind is Kind.WORKER and master and master.state == "T":
                continue
            if one.slot is not None and one.up >= self.limits.grace:
                found = self._rule(one, one.slot, facts)
                if found is not None and one.identity not in facts.busy:
                    yield found

    def _master(self, facts: Facts) -> Iterator[Decision]:
        master = facts.master
        if master is None or master.identity in facts.busy:
            return
        if master.up < self.limits.grace:
            return
        stopped_ns = self._stopped_ns.get(master.identity, facts.now_ns)
        stopped = (facts.now_ns - stopped_ns) / 1e9
        limits, silent = self.limits, facts.silent
        if stopped >= limits.master_stopped or silent >= limits.master_hung:
            since = facts.now_ns - int(max(stopped, silent) * 1e9)
            evidence: Evidence = {"silent_ms": _ms(silent), "state": master.state}
            yield Decision(Act.KILL, master, Rule.MASTER_HUNG, since, evidence)
        elif facts.struck_out:
            yield self._strikes(master, facts.now_ns)

    def _strikes(self, master: Process, now_ns: int) -> Decision:
        """Renew every worker first; if that did not help, the whole server."""
        renewed = self._hup_ns
        again = renewed is not None and now_ns - renewed < AGAIN_SECONDS * 1e9
        act = Act.KILL if again else Act.HUP
        return Decision(act, master, Rule.HTTP, now_ns, {"renewed_before": int(again)})

    def _rule(self, one: Process, slot: SlotReading, facts: Facts) -> Decision | None:
        judges = {
            Kind.WORKER: self._worker,
            Kind.MAIN: self._main,
            Kind.CHILD: self._child,
            Kind.BEAT: self._beat,
        }
        return judges[one.kind](one, slot, facts)

    def _worker(self, one: Process, slot: SlotReading, facts: Facts) -> Decision | None:
        limits, age = self.limits, slot.age(facts.now_ns)
        if age > limits.worker_frozen:
            return _old(Rule.WORKER_FROZEN, one, slot, age)
        oldest = slot.oldest_age(facts.now_ns)
        if 0 < slot.limit <= slot.in_flight and oldest > limits.worker_stuck:
            evidence: Evidence = {
                "in_flight": slot.in_flight,
                "limit": slot.limit,
                "oldest_ms": _ms(oldest),
            }
            return Decision(
                Act.TERM,
                one,
                Rule.WORKER_STUCK,
                slot.oldest_ns,
                evidence,
                then_kill=limits.terminate,
            )
        if 0 < slot.cap < slot.rss:
            evidence = {"rss": slot.rss, "limit": slot.cap}
            # SIGTERM lets a worker finish what it is at: it is not killed after it.
            return Decision(Act.TERM, one, Rule.WORKER_MEMORY, facts.now_ns, evidence)
        return None

    def _main(self, one: Process, slot: SlotReading, facts: Facts) -> Decision | None:
        age = slot.age(facts.now_ns)
        if age > self.limits.main_frozen:
            return _old(Rule.MAIN_FROZEN, one, slot, age)
        return self._deaf(one, facts) if age <= TICKING else None

    def _deaf(self, one: Process, facts: Facts) -> Decision | None:
        """Tell a main that takes nothing from one that is busy.

        A queue that was late before this main began has its time again, one that nobody
        watched a period; and while children are at tasks, what waits only waits its turn.
        """
        limit, late = self.limits.deaf, self._late(facts)
        watched = self.limits.void + (facts.now_ns - self._void_until_ns) / 1e9
        idle = _idle(one, facts)
        if late is None or one.up < limit or min(idle, watched) < limit / PERIODS:
            return None
        evidence: Evidence = {
            "queue": late.queue,
            "unseen_ms": _ms((facts.now_ns - late.silent_ns) / 1e9),
            "idle_ms": _ms(idle),
            "depth": late.depth,
        }
        return Decision(
            Act.TERM,
            one,
            Rule.MAIN_DEAF,
            late.silent_ns,
            evidence,
            then_kill=self.limits.terminate,
        )

    def _late(self, facts: Facts) -> Sight | None:
        """Return the late queue whose canary was taken last."""
        late = [
            sight
            for sight in facts.sights
            if sight.age(facts.now_ns) <= FRESH_SECONDS
            and canary_is_late(sight, period=self.limits.deaf / PERIODS, expected=True)
        ]
        return max(late, key=lambda sight: sight.silent_ns, default=None)

    def _child(self, one: Process, slot: SlotReading, facts: Facts) -> Decision | None:
        age = slot.age(facts.now_ns)
        if age > self.limits.child_frozen:
            return _old(Rule.CHILD_FROZEN, one, slot, age)
        at = (facts.now_ns - slot.task_ns) / 1e9 if slot.task_ns else 0.0
        if one.task_limit and at > one.task_limit + self.limits.child_stuck:
            evidence: Evidence = {
                "task_ms": _ms(at),
                "task_limit_ms": _ms(one.task_limit),
                "task_crc": f"{slot.task:08x}",
            }
            return Decision(Act.KILL, one, Rule.CHILD_STUCK, slot.task_ns, evidence)
        return None

    def _beat(self, one: Process, slot: SlotReading, facts: Facts) -> Decision | None:
        age = slot.age(facts.now_ns)
        if age > self.limits.beat_late:
            return _old(Rule.BEAT_LATE, one, slot, age)
        return None

    # -- Gates -------------------------------------------------------------------------
    def _gate(self, want: Decision, facts: Facts) -> Decision | Refusal | None:
        refusal = self._refusal(want, facts)
        if refusal is not None:
            return refusal
        part = want.target.part
        spent = self.spending.get(part, Spending())
        if self.budget.is_pausing(spent, facts.now_ns):
            return None
        spent, is_allowed = self.budget.spend(spent, facts.now_ns)
        self.spending[part] = spent
        if not is_allowed:
            detail = f"its budget is spent, hold {spent.holds}"
            return Refusal(Why.BUDGET, want, detail, spent.hold_until_ns)
        if want.act is Act.HUP:
            self._hup_ns = facts.now_ns
        if want.rule is Rule.MAIN_DEAF:
            self.spending[part] = replace(spent, deaf_ns=facts.now_ns)
        return want

    def _refusal(self, want: Decision, facts: Facts) -> Refusal | None:
        target = want.target
        if target.fault:
            return Refusal(Why.IDENTITY, want, target.fault)
        hold = facts.holds.get("watchdog", "") or facts.holds.get(target.part, "")
        if hold == "observe":
            return Refusal(Why.OBSERVE, want, "held in observe")
        if hold == "drain" or (facts.draining and target.part == "web"):
            return Refusal(Why.DRAINING, want, "it is being drained")
        if target.kind in {Kind.MAIN, Kind.BEAT} and not facts.broker_well:
            # Their loops stand still while they look for the broker.
            return Refusal(Why.DEPENDENCY, want, "its broker does not answer")
        if not self._may(target.kind):
            return Refusal(Why.OBSERVE, want, f"mode {self.mode.value}")
        spent = self.spending.get(target.part, Spending())
        if want.rule is Rule.MAIN_DEAF and want.since_ns <= spent.deaf_ns:
            # No canary was taken since: another restart would not help either.
            return Refusal(Why.REPEAT, want, "it was restarted for this once")
        return None

    def _may(self, kind: Kind) -> bool:
        if self.mode is Mode.WORKERS:
            return kind in {Kind.WORKER, Kind.CHILD}
        return self.mode is Mode.ENFORCE


def _old(rule: Rule, one: Process, slot: SlotReading, age: float) -> Decision:
    evidence: Evidence = {"heartbeat_age_ms": _ms(age), "state": one.state}
    return Decision(Act.KILL, one, rule, slot.heartbeat_ns, evidence)


def _idle(main: Process, facts: Facts) -> float:
    """Return how long no child of it was at a task; one without children never is."""
    return min(
        (
            min(child.up, child.slot.idle_age(facts.now_ns))
            for child in facts.processes
            if child.slot is not None and child.parent == main.identity.pid
        ),
        default=0.0,
    )


def _ms(seconds: float) -> int:
    return int(min(seconds, DAY) * 1000)
