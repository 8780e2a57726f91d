"""What processes tell each other through Redis. No Django, and no Redis till it is used.

The message is the row itself, with seconds that are left instead of clock times. One
hash and one channel hold all breakers. Nothing here is ever waited for by a call: two
threads a process and server speak to Redis, one listens, one talks; a third that hung
would change nothing. With Redis gone or silent for two seconds every process lets its
own trials through. A lost database of Redis loses nothing: whoever holds a row that is
not there puts it back within a second.
"""

import atexit
import json
import logging
import random
import threading
import time
from collections import deque
from dataclasses import asdict, replace
from importlib import import_module
from typing import Any
from uuid import uuid4

from breakers.guard import CircuitBreaker
from breakers.pulse import pulse
from breakers.states import CircuitState, Row

PREFIX = "ftw:breakers:"
SILENT = 2.0
PERIOD = 1.0
# A dead Redis costs one attempt of this length, on a thread nobody waits for.
TIMEOUT = 0.25
ASK_AGAIN = 0.1
KEEP = 30 * 86400
DRAIN = 2.0

# A stored row: version, O(pen) or C(losed), the server's seconds, the row as JSON. Of one
# version the open one counts. The server's clock is the only one that is compared.
_PUBLISH = f"""
local old = redis.call('HGET', KEYS[1], ARGV[1])
if old then
  local version, state = string.match(old, '^(%d+) (%a) ')
  version = tonumber(version)
  local new = tonumber(ARGV[2])
  if version > new or (version == new and (state == 'O' or ARGV[3] == 'C')) then
    return 0
  end
end
local t = redis.call('TIME')
local head = ARGV[2]..' '..ARGV[3]..' '..t[1]..'.'..string.format('%06d', t[2])
redis.call('HSET', KEYS[1], ARGV[1], head..' '..ARGV[4])
redis.call('EXPIRE', KEYS[1], {KEEP})
redis.call('PUBLISH', KEYS[2], ARGV[4])
return 1
"""
_READ = """
local t = redis.call('TIME')
return {t[1]..'.'..string.format('%06d', t[2]), redis.call('HGETALL', KEYS[1])}
"""
_RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""
_EXTEND = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0
"""

logger = logging.getLogger(__name__)


class Lease:
    """The fleet's one trial of a version, held by this process until a moment."""

    __slots__ = ("asked_at", "token", "until", "version", "wanted")

    def __init__(self, version: int) -> None:
        self.version = version
        self.token = uuid4().hex
        self.until = self.asked_at = 0.0
        self.wanted = True


class Fleet:
    """Everything one process shares by one Redis."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._begin()

    def _begin(self) -> None:
        """Know nobody and run nothing: also the state after a fork."""
        self._breakers: dict[str, CircuitBreaker] = {}
        self._leases: dict[str, Lease] = {}
        self._queue: deque[Row] = deque()
        self._let_go: deque[tuple[str, Lease]] = deque()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._heard_at = -SILENT
        self._failing = False
        self._running = False
        self._client: Any = None

    # -- From any thread, at once --------------------------------------------------
    def join(self, breaker: CircuitBreaker) -> None:
        """Share a breaker's state from now on."""
        name = breaker.name
        breaker.circuit.may_try = lambda version: self.may_try(name, version)
        breaker.circuit.let_go = lambda: self.release(name)
        self._breakers[name] = breaker
        self.start()

    def start(self) -> None:
        """Start the two threads of this process, once."""
        with self._lock:
            if self._running:
                return
            self._running = True
        # Here and not on the thread: a fork in the middle of an import leaves the child
        # with a lock that nobody will open.
        import_module("redis")
        for target, name in ((self._talk, "talk"), (self._listen, "listen")):
            threading.Thread(
                target=target, name=f"breakers-{name}", daemon=True
            ).start()

    def alive(self) -> bool:
        """Tell whether Redis answered within the last two seconds."""
        return time.monotonic() - self._heard_at < SILENT

    def publish(self, row: Row) -> None:
        """Tell the others, soon."""
        self._queue.append(row)
        self.start()
        self._wake.set()

    def may_try(self, name: str, version: int) -> bool:
        """Tell whether this process has the trial of a version; if not, ask for it.

        Called under the circuit's lock: it only looks.
        """
        if not self.alive():
            return True
        lease = self._leases.get(name)
        now = time.monotonic()
        if lease is not None and lease.version == version:
            if now < lease.until:
                return True
            if now - lease.asked_at < ASK_AGAIN:
                return False
        else:
            lease = self._leases[name] = Lease(version)
        lease.wanted = True
        self._wake.set()
        return False

    def release(self, name: str) -> None:
        """Give the trial back to the fleet."""
        lease = self._leases.pop(name, None)
        if lease is not None:
            self._let_go.append((name, lease))
            self._wake.set()

    def drain(self, seconds: float = DRAIN) -> None:
        """Wait until everything is told, at most so long: the process ends."""
        end = time.monotonic() + seconds
        while (self._queue or self._let_go) and time.monotonic() < end:
            if self._failing:
                return
            time.sleep(0.005)

    def forked(self) -> None:
        """Begin anew in a child process."""
        self._begin()

    # -- The talking thread --------------------------------------------------------
    def _talk(self) -> None:
        due, failures = 0.0, 0
        while True:
            self._wake.wait(max(0.0, due - time.monotonic()))
            self._wake.clear()
            try:
                self._say_all()
                if time.monotonic() >= due:
                    self._compare()
                    due = time.monotonic() + PERIOD
                self._heard_at = time.monotonic()
                self._failing, failures = False, 0
            except Exception as error:  # noqa: BLE001 - whatever it is, we go on
                failures += 1
                self._failing = True
                if failures == 1:
                    logger.warning("redis does not answer: %s", type(error).__name__)
                time.sleep(_pause(failures))

    def _redis(self) -> Any:
        if self._client is None:
            self._client = _connect(self.url)
        return self._client

    def _say_all(self) -> None:
        """Publish, give back and ask for what is waiting."""
        while self._queue:
            self._send(self._queue[0])
            self._queue.popleft()
        while self._let_go:
            name, lease = self._let_go[0]
            self._redis().eval(_RELEASE, 1, _lease_key(name, lease), lease.token)
            self._let_go.popleft()
        for name, lease in list(self._leases.items()):
            if lease.wanted:
                self._ask(name, lease)

    def _send(self, row: Row) -> None:
        letter = "O" if row.state == CircuitState.OPEN else "C"
        self._redis().eval(
            _PUBLISH,
            2,
            PREFIX + "rows",
            PREFIX + "changes",
            row.name,
            row.version,
            letter,
            json.dumps(asdict(row)),
        )

    def _ask(self, name: str, lease: Lease) -> None:
        """Ask for the trial; who is refused extends nothing."""
        lease.wanted = False
        breaker = self._breakers.get(name)
        if breaker is None:
            return
        # Less by what the next one who asks may be late.
        seconds = breaker.options.trial_limit - ASK_AGAIN
        lease.asked_at = asked_at = time.monotonic()
        got = self._redis().set(
            _lease_key(name, lease), lease.token, nx=True, px=int(seconds * 1000)
        )
        if got:
            lease.until = asked_at + seconds

    def _compare(self) -> None:
        """Once a second: adopt what is newer there, put back what is newer here."""
        seconds, pairs = self._redis().eval(_READ, 1, PREFIX + "rows")
        stored = {
            name: read_row(value, float(seconds))
            for name, value in zip(pairs[::2], pairs[1::2], strict=True)
        }
        for name, breaker in list(self._breakers.items()):
            there = stored.get(name)
            if there is not None:
                breaker.adopt(there)
            here = breaker.circuit.row()
            if here.version > (there.version if there else 0):
                self._send(here)
            self._extend(name, breaker)

    def _extend(self, name: str, breaker: CircuitBreaker) -> None:
        """Keep the lease while its trial is under way: it may have begun late."""
        lease = self._leases.get(name)
        trial = breaker.circuit.trial
        if lease is None or trial is None or time.monotonic() >= trial.expires:
            return
        seconds = trial.expires - time.monotonic()
        key = _lease_key(name, lease)
        if self._redis().eval(_EXTEND, 1, key, lease.token, int(seconds * 1000) + 1):
            lease.until = time.monotonic() + seconds

    # -- The listening thread ------------------------------------------------------
    def _listen(self) -> None:
        failures = 0
        while True:
            try:
                client = _connect(self.url)
                channel = client.pubsub(ignore_subscribe_messages=True)
                channel.subscribe(PREFIX + "changes")
                failures = 0
                while True:
                    self._take(channel.get_message(timeout=PERIOD))
            except Exception:  # noqa: BLE001 - the talking thread says so
                failures += 1
                time.sleep(_pause(failures))

    def _take(self, message: dict[str, Any] | None) -> None:
        if not message:
            return
        row = Row(**json.loads(message["data"]))
        breaker = self._breakers.get(row.name)
        if breaker is not None:
            breaker.adopt(row)


def read_row(value: str, now: float) -> Row:
    """Return a stored row as it is now, by the server's clock."""
    _, _, written, text = value.split(" ", 3)
    row = Row(**json.loads(text))
    passed = max(0.0, now - float(written))
    left = row.override_remaining
    if left is not None and left <= passed:
        row = replace(
            row,
            override="",
            override_reason="",
            override_by="",
            override_remaining=None,
        )
    elif left is not None:
        row = replace(row, override_remaining=left - passed)
    return replace(
        row, remaining=max(0.0, row.remaining - passed), age=row.age + passed
    )


def _pause(failures: int) -> float:
    """Return how long to leave a server alone, not the same for all processes."""
    spread = random.uniform(0.5, 1.0)  # noqa: S311 - nobody gains by guessing it
    return spread * min(failures, 5) * PERIOD


def _lease_key(name: str, lease: Lease) -> str:
    return f"{PREFIX}lease:{name}:{lease.version}"


def _connect(url: str) -> Any:
    """Return a client that gives up at once: its own retries took 7 to 9 s a call."""
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return redis.Redis.from_url(
        url,
        decode_responses=True,
        socket_timeout=TIMEOUT,
        socket_connect_timeout=TIMEOUT,
        retry=Retry(NoBackoff(), 0),
    )


# -- One of them a server ----------------------------------------------------------
_fleets: dict[str, Fleet] = {}
_default: list[str] = []


def fleet_of(url: str) -> Fleet:
    """Return the fleet of a server, made on first use."""
    return _fleets.setdefault(url, Fleet(url))


def use(url: str | None) -> None:
    """Say by which server breakers without one of their own are shared."""
    _default[:] = [url] if url else []


def publish(row: Row) -> None:
    """Tell every process by the default server, soon; nobody listens without one."""
    for url in _default:
        fleet_of(url).publish(row)


def alive() -> bool:
    """Tell whether the default server answered lately."""
    return any(fleet_of(url).alive() for url in _default)


def _join(breaker: CircuitBreaker) -> None:
    url = breaker.redis_url or next(iter(_default), None)
    if url:
        fleet_of(url).join(breaker)


def _changed(breaker: CircuitBreaker) -> None:
    url = breaker.redis_url or next(iter(_default), None)
    if url:
        fleet = fleet_of(url)
        fleet.release(breaker.name)
        fleet.publish(breaker.circuit.row())


def _forked() -> None:
    for fleet in _fleets.values():
        fleet.forked()


@atexit.register
def _drain() -> None:
    for fleet in _fleets.values():
        fleet.drain()


pulse.at_join(_join)
pulse.at_change(_changed)
pulse.at_fork(_forked)
