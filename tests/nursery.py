"""A process that has the libraries imported, and forks those that tests ask for.

Importing Django and what it needs takes 0.7 of the 0.85 s of processor time in which a
process of ours starts, and the suite starts hundreds. Our own code and settings, and the
metrics library, which looks at the environment once, are imported by each child anew.
"""

import atexit
import json
import os
import runpy
import selectors
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import types
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[1]
# What can be imported without settings and takes long.
LIBRARIES = (
    "celery.app.task",
    "celery.fixups.django",
    "celery.worker.worker",
    "django.contrib.admin.options",
    "django.core.management",
    "django.db.backends.postgresql.base",
    "django.test.client",
    "django.views.debug",
    "environs",
    "packaging.version",
    "psutil",
    "psycopg_pool",
    "redis",
    "rest_framework.serializers",
    "structlog",
    "whitenoise.base",
)
NUMBER = struct.Struct("i")


# -- The process that forks ----------------------------------------------------------
def serve(control: socket.socket) -> list[str]:
    """Fork whatever is asked for until nobody can ask; return in a child, what to run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        head, descriptors, *_ = socket.recv_fds(control, NUMBER.size, 4)
        if not head:
            os._exit(0)
        asked = json.loads(_read(control, NUMBER.unpack(head)[0]))
        if not os.fork():
            control.close()
            return _watch(asked, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _read(control: socket.socket, size: int) -> bytes:
    text = b""
    while len(text) < size:
        text += control.recv(size - len(text))
    return text


def _watch(asked: dict[str, Any], descriptors: Sequence[int]) -> list[str]:
    """Fork once more, tell how that one ends; return in it."""
    *streams, status = descriptors
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if child:
        for descriptor in (0, 1, 2, *streams):
            os.close(descriptor)
        os.write(status, NUMBER.pack(child))
        _, ended = os.waitpid(child, 0)
        os.write(status, NUMBER.pack(ended))
        os._exit(0)
    os.close(status)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(ROOT)
    os.environ.clear()
    os.environ.update(asked["env"])
    return list(asked["words"])


def run(words: list[str]) -> None:
    """Do what ``python WORDS`` does."""
    sys.argv = words
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    elif words[0] == "-c":
        sys.argv = ["-c", *words[2:]]
        sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(words[1], "<string>", "exec"), vars(sys.modules["__main__"]))
    else:
        runpy.run_path(words[0], run_name="__main__")


# -- Whoever asks --------------------------------------------------------------------
class Child:
    """A forked process, as ``subprocess.Popen`` shows one; streams are text."""

    def __init__(self, status: int, stdin: IO[str], stdout: IO[str], errors: IO[str]):
        self._status, self._errors = status, errors
        self.stdin, self.stdout = stdin, stdout
        self.returncode: int | None = None
        self._ending = threading.Lock()
        self.pid = self._number(None) or 0

    def _number(self, seconds: float | None) -> int | None:
        """Return the next number that is told, or nothing after so many seconds."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._status, selectors.EVENT_READ)
            if not selector.select(seconds):
                return None
        told = os.read(self._status, NUMBER.size)
        assert told, "the nursery is gone"
        return int(NUMBER.unpack(told)[0])

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it ended."""
        with self._ending:
            if self.returncode is None:
                ended = self._number(timeout)
                if ended is None:
                    raise subprocess.TimeoutExpired(f"child {self.pid}", timeout or 0)
                self.returncode = os.waitstatus_to_exitcode(ended)
                os.close(self._status)
        return self.returncode

    def poll(self) -> int | None:
        """Return how it ended, if it did."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def send_signal(self, number: int) -> None:
        """Signal it, if it is there."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL it."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float) -> tuple[str, str]:
        """Return what it says until it ends; one that takes longer is killed."""
        killer = threading.Timer(timeout, self.kill)
        killer.start()
        try:
            self.stdin.close()
            out = self.stdout.read()
            self.wait()
        finally:
            killer.cancel()
        self._errors.seek(0)
        return out, self._errors.read()

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self.stdin, self.stdout):
            stream.close()
        self.wait()
        self._errors.close()


class Nursery:
    """The other end: asks for processes."""

    def __init__(self) -> None:
        self._control, other = socket.socketpair()
        self._asking = threading.Lock()
        command = [sys.executable, "-m", "tests.nursery", str(other.fileno())]
        self._process = subprocess.Popen(
            command, cwd=ROOT, pass_fds=[other.fileno()], stdin=subprocess.DEVNULL
        )
        other.close()
        atexit.register(self.close)

    def start(self, words: list[str], env: Mapping[str, str]) -> Child:
        """Start ``python WORDS`` in an environment, at the root of the project."""
        stdin, to = os.pipe()
        out, stdout = os.pipe()
        status, tell = os.pipe()
        errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - the child's
        given = [stdin, stdout, errors.fileno(), tell]
        asked = json.dumps({"words": words, "env": dict(env)}).encode()
        with self._asking:
            socket.send_fds(self._control, [NUMBER.pack(len(asked))], given)
            self._control.sendall(asked)
        for descriptor in (stdin, stdout, tell):
            os.close(descriptor)
        return Child(status, os.fdopen(to, "w"), os.fdopen(out), errors)

    def run(
        self, words: list[str], env: Mapping[str, str], seconds: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Run ``python WORDS`` to its end; what takes longer is killed."""
        with self.start(words, env) as child:
            out, err = child.communicate(seconds)
        return subprocess.CompletedProcess(words, child.wait(), out, err)

    def close(self) -> None:
        """Let it end: nobody asks any more."""
        self._control.close()
        self._process.wait(10)


@cache
def nursery() -> Nursery:
    """Return the one of this process."""
    return Nursery()


if __name__ == "__main__":
    for library in LIBRARIES:
        import_module(library)
    run(serve(socket.socket(fileno=int(sys.argv[1]))))
