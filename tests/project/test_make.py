"""What the Makefile would do, without doing it."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def commands_of(target: str, **variables: str) -> list[list[str]]:
    done = subprocess.run(
        ["make", "-n", target],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return [line.split() for line in done.stdout.splitlines()]


def test_a_lock_made_anew_keeps_its_pins_and_trusts_what_the_system_trusts():
    commands = commands_of("lock")

    assert len(commands) == 2
    assert all("--system-certs" in words for words in commands)
    assert not any({"-U", "--upgrade"} & set(words) for words in commands)


def test_newer_versions_are_taken_only_when_they_are_asked_for():
    commands = commands_of("lock", UPGRADE="-U")

    assert all("-U" in words for words in commands)
