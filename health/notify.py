"""Tell the service manager that this process is up, and that it still works. Pure.

The protocol of sd_notify: a line to the socket that NOTIFY_SOCKET names.
"""

import os
import socket
import time

SHARE = 3.0


def notify(text: str) -> bool:
    """Send one line; without a manager, or with one that does not listen, do nothing."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    # A name that begins with @ is an abstract one.
    where = address.replace("@", "\0", 1) if address[0] == "@" else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as one:
        # This is called by the very loop it reports on: a full socket must not hang it.
        one.settimeout(0)
        try:
            one.sendto(text.encode(), where)
        except OSError:
            return False
    return True


class Notifier:
    """READY=1 once, then WATCHDOG=1 three times in each period the manager waits."""

    def __init__(self) -> None:
        """Read from the environment how long the manager waits."""
        usec = os.environ.get("WATCHDOG_USEC", "")
        self._every_ns = int(int(usec) * 1000 / SHARE) if usec.isdigit() else 0
        self._told_ns: int | None = None

    def tick(self, *, well: bool) -> None:
        """Tell that another round was made; say nothing where something hangs."""
        now_ns = time.monotonic_ns()
        if self._told_ns is None:
            self._told_ns = now_ns
            notify("READY=1")
        elif self._every_ns and well and now_ns - self._told_ns >= self._every_ns:
            self._told_ns = now_ns
            notify("WATCHDOG=1")
