"""What gunicorn calls: listener options, threads after fork, the end of a worker."""

import ipaddress
import logging
import os
import threading
import time
from typing import Any

from django.conf import settings
from gunicorn.glogging import Logger

from health import startup
from health.careless import limit_listener
from health.counters import empty_counters, forget_process
from health.dumps import register_dumps
from health.duty import Duty
from health.places import drain_file, make_socket_dir
from health.pulse import own_pulse, start_pulse
from health.slots import Role
from health.takeover import (
    KILL_AFTER,
    TRY_AFTER,
    Contender,
    SamplerLock,
    watchdog_is_fresh,
)

logger = logging.getLogger(__name__)


class StructuredLogger(Logger):
    """gunicorn's lines through our own handler: one JSON object each."""

    def setup(self, cfg: Any) -> None:
        """Let the lines rise to the root logger instead of a handler of their own."""
        super().setup(cfg)  # type: ignore[no-untyped-call]
        self.error_log.handlers.clear()
        self.error_log.propagate = True
        self.error_log.addFilter(drops_are_quiet)


def drops_are_quiet(record: logging.LogRecord) -> bool:
    """Keep the traceback of a client that stalled past the listener's limit out."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, BlockingIOError)


def is_loopback(address: Any) -> bool:
    """Tell whether a bound address can be reached from this machine alone."""
    host = address[0] if isinstance(address, tuple) else ""
    try:
        return not host or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def refuse_open_bind(addresses: list[Any]) -> None:
    """Stop when everybody who can connect would be an operator.

    The settings refuse an open HOST; a --bind of gunicorn's own goes round them.
    """
    if settings.LOCAL_OPERATOR and not all(map(is_loopback, addresses)):
        raise SystemExit(
            f"LOCAL_OPERATOR=1 gives every local caller the operator role, so {addresses}"
            " must be loopback addresses; unset it to serve others."
        )


def on_starting(server: Any) -> None:
    """Take away what an earlier life left: the wish to drain, its counter files."""
    refuse_open_bind(server.cfg.address)
    make_socket_dir(settings.SOCKET_DIR)
    drain_file().unlink(missing_ok=True)
    empty_counters("web")


def when_ready(server: Any) -> None:
    """Begin a boot, and bound what a careless client can hold."""
    startup.note_boot()
    for listener in server.LISTENERS:
        limit_listener(listener.sock)


def post_fork(
    server: Any,
    worker: Any,
    *,
    try_after: float = TRY_AFTER,
    kill_after: float = KILL_AFTER,
) -> None:
    """Give the worker its slot and the thread that stands in for a dead watchdog."""
    start_pulse(Role.WEB, limit=settings.WEB_THREADS)
    contender = Contender(SamplerLock(), try_after=try_after, kill_after=kill_after)
    threading.Thread(
        target=stand_in, args=(contender,), name="stand-in", daemon=True
    ).start()


def post_worker_init(worker: Any) -> None:
    """Answer SIGUSR2 with tracebacks; before this gunicorn resets every signal."""
    register_dumps()


def stand_in(contender: Contender) -> None:
    """Take over when nobody samples, give back when a watchdog ticks; for ever."""
    while True:
        time.sleep(1)
        try:
            if contender.tick(time.monotonic_ns()):
                _hold(contender)
        except Exception:
            logger.exception("stand_in_failed")
            contender.lock.release()


def _hold(contender: Contender) -> None:
    logger.warning("sampling_in_a_worker", extra={"pid": os.getpid()})
    try:
        Duty(roles=frozenset({"web"})).run(
            lambda: not watchdog_is_fresh(time.monotonic_ns())
        )
    finally:
        contender.lock.release()
    logger.warning("sampling_given_back", extra={"pid": os.getpid()})


def worker_exit(server: Any, worker: Any) -> None:
    """Take the slot away at a clean exit."""
    pulse = own_pulse()
    if pulse is not None:
        pulse.stop()


def child_exit(server: Any, worker: Any) -> None:
    """Let the counters of a dead worker go; its slot tells the sampler of its end."""
    forget_process("web", worker.pid)


def on_exit(server: Any) -> None:
    """Say goodbye, so that the instance's row goes too."""
    startup.forget_boot()
