"""A channel to Redis that holds no task outside of it.

The stock one pops a task (BRPOP) and notes it as unacknowledged once it has read it. In
between it is in the worker's socket alone, and a main that stood still took one along
each time it was killed. This one moves it to a list beside the queue, from where it
goes back when nobody has noted it for the visibility timeout. It is done twice rather
than never. Guarded by a test on the pinned kombu, because private names are replaced.
"""

import time
from queue import Empty
from typing import Any

from kombu.transport import redis
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import loads

MOST_LOOKED_AT = 100
# Atomic, so that of two workers one puts it back.
_PUT_BACK = """
if redis.call('LREM', KEYS[1], 1, ARGV[1]) > 0 then
    redis.call('RPUSH', KEYS[2], ARGV[1])
end
"""


def handed(queue: str) -> str:
    """Return the list of what a queue handed out and nobody has noted yet."""
    return f"{queue}.handed"


class KeepingQoS(redis.QoS):
    """What is unacknowledged, and what was handed out."""

    channel: "KeepingChannel"

    def restore_visible(self, *args: Any, **options: Any) -> None:
        """Put back what nobody acknowledged, and what nobody noted."""
        super().restore_visible(*args, **options)
        self.channel.put_back()


class KeepingChannel(redis.Channel):
    """Take tasks of one queue by moving them; of several as the stock channel does."""

    QoS = KeepingQoS
    connection_errors: tuple[type[Exception], ...]
    _queue_cycle: Any

    def __init__(self, *args: Any, **options: Any) -> None:
        """Wait for nothing yet."""
        self._moving = ""
        self._seen: dict[bytes, float] = {}
        super().__init__(*args, **options)

    def _brpop_start(self, timeout: float | None = None) -> None:
        queues = self._queue_cycle.consume(len(self.active_queues))
        self._moving = queues[0] if len(queues) == 1 else ""
        if not self._moving:
            super()._brpop_start(timeout)  # type: ignore[misc]
            return
        self._in_poll = self.client.connection
        self._brpop_sent_at = time.monotonic()
        # The older name of BLMOVE: every Redis knows it.
        words = (self._moving, handed(self._moving), timeout or self.brpop_timeout)
        self.client.connection.send_command("BRPOPLPUSH", *words)

    def _brpop_read(self, **options: Any) -> bool:
        queue, self._moving = self._moving, ""
        if not queue:
            return bool(super()._brpop_read(**options))  # type: ignore[misc]
        connection = self.client.connection
        try:
            task = self.client.parse_response(connection, "BRPOPLPUSH", **options)
        except self.connection_errors:
            connection.disconnect()
            raise
        finally:
            self._in_poll = None
        if task is None:
            raise Empty
        self.connection._deliver(loads(bytes_to_str(task)), queue)
        with self.conn_or_acquire() as client:
            client.lrem(handed(queue), 1, task)
        return True

    def put_back(self) -> None:
        """Return what has been seen in nobody's hands for the visibility timeout."""
        now, seen = time.monotonic(), {}
        with self.conn_or_acquire() as client:
            for queue in self.active_queues:
                tasks = client.lrange(handed(queue), 0, MOST_LOOKED_AT - 1)
                for task in tasks:
                    seen[task] = self._seen.get(task, now)
                    if now - seen[task] > self.visibility_timeout:
                        client.eval(_PUT_BACK, 2, handed(queue), queue, task)
        self._seen = seen


def keep_tasks() -> None:
    """Let this process take tasks that way."""
    redis.Transport.Channel = KeepingChannel
