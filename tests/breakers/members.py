"""Fleets of real processes for tests."""

import json
import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.nursery import Child, nursery
from tests.server import wait_for

FAST = {"failure_threshold": 5, "reset_timeout": 1.0, "timeout": None}


@dataclass
class Member:
    """A process that obeys."""

    process: Child

    def ask(self, *words: Any) -> None:
        """Send a command and do not wait."""
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        """Wait for the next answer."""
        line = self.process.stdout.readline()
        assert line, "the process ended"
        return json.loads(line)

    def do(self, *words: Any) -> Any:
        """Send a command and wait for its answer."""
        self.ask(*words)
        return self.answer()

    def kill(self) -> None:
        """SIGKILL it."""
        self.process.kill()
        self.process.wait()


def spawn(until: ExitStack, words: list[str], env: Mapping[str, str]) -> Member:
    """Start a module that obeys; it is ended with the stack."""
    process = until.enter_context(nursery().start(["-m", *words], env))
    until.callback(process.kill)
    return Member(process)


class Dependency:
    """A folder that plays the dependency."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def die(self) -> None:
        (self.folder / "dead").touch()

    def live(self) -> None:
        (self.folder / "dead").unlink()

    @property
    def reached(self) -> int:
        """How many calls came through."""
        path = self.folder / "reached"
        return path.stat().st_size if path.exists() else 0


class Members(ExitStack):
    """The processes of one test; all are ended with it."""

    def __init__(self, url: str, folder: Path) -> None:
        super().__init__()
        self.url, self.folder = url, folder

    def start(self, count: int = 1, **options: Any) -> list[Member]:
        """Start processes and wait until each has heard of Redis."""
        return [
            self._wait_ready(member)
            for member in [self._spawn({**FAST, **options}) for _ in range(count)]
        ]

    def _spawn(self, options: dict[str, Any]) -> Member:
        words = ["tests.breakers.member", self.url, str(self.folder)]
        return spawn(self, [*words, json.dumps(options)], os.environ)

    def _wait_ready(self, member: Member) -> Member:
        assert member.answer() == "ready"
        return member


def all_open(members: list[Member], seconds: float = 5.0) -> None:
    """Wait until every process knows that the circuit is open."""
    wait_for(
        lambda: all(member.do("state")["state"] == "OPEN" for member in members),
        seconds,
        "every process knows",
    )
