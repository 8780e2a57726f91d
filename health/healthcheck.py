"""Ask a part's slots whether it lives: the liveness probe of a container.

`python -I -S health/healthcheck.py [--role web|worker|beat] [--run-dir DIR] [--stale 8]`

Exit 0 while the youngest heartbeat of the role is fresh, else 1, with one sentence. It
looks at nothing outside the container, so no outage of a dependency can fail it, and at
the youngest heartbeat, because one frozen worker of several is the watchdog's work.

Standard library only, and of that only what the interpreter has loaded anyway: argparse
and pathlib would double its processor time. The format is that of health/slots.py.
"""

import os
import struct
import sys
import time

SIZE = 64
MAGIC = 0x31575446
ROLES = {"web": 1, "worker": 2, "beat": 4}
USAGE = (
    "usage: healthcheck.py [--role web|worker|beat] [--run-dir DIR] [--stale SECONDS]"
)


class UsageError(Exception):
    """Wrong arguments; the words say which."""


def parse_arguments(words: list[str]) -> tuple[str, str, float]:
    """Return role, folder and limit; refuse what is not understood."""
    given = {
        "--role": "web",
        "--run-dir": os.path.join(os.environ.get("DATA_DIR", "var"), "run"),
        "--stale": "8",
    }
    for name, value in zip(words[::2], [*words[1::2], ""], strict=False):
        if name not in given or not value:
            raise UsageError(f"{name}: not understood")
        given[name] = value
    if given["--role"] not in ROLES:
        raise UsageError(f"--role: {given['--role']} is not one of {', '.join(ROLES)}")
    try:
        stale = float(given["--stale"])
    except ValueError:
        stale = 0.0
    if not 0 < stale < 3600:
        raise UsageError("--stale: write seconds, more than 0 and less than 3600")
    return given["--role"], given["--run-dir"], stale


def heartbeats(folder: str, role: str) -> list[float]:
    """Return the age of each heartbeat of the living processes of a role."""
    now = time.monotonic_ns()
    ages = []
    for name in os.listdir(folder):
        if name.startswith(f"{role}-") and name.endswith(".slot"):
            try:
                beat = read_heartbeat(os.path.join(folder, name), role)
            except OSError:
                continue  # gone since it was listed
            # One of the future was written before the machine started anew.
            if beat is not None and beat <= now + 1_000_000_000:
                ages.append(max(0.0, (now - beat) / 1e9))
    return ages


def read_heartbeat(path: str, role: str) -> int | None:
    """Return a slot's heartbeat; None if it is not that of a living process of ours."""
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        owner, data = os.fstat(file).st_uid, os.read(file, SIZE + 1)
    finally:
        os.close(file)
    if owner != os.geteuid() or len(data) != SIZE:
        return None
    head, who, ticks, beat = struct.unpack_from("=4Q", data)
    pid = who & 0xFFFFFFFF
    named = os.path.basename(path) == f"{role}-{pid}-{ticks}.slot"
    if head != MAGIC | (ROLES[role] << 32) or not named:
        return None
    return beat if start_ticks(pid) == ticks else None


def start_ticks(pid: int) -> int | None:
    """Return when a living process began; a zombie is dead."""
    file = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    try:
        fields = os.read(file, 4096).rpartition(b")")[2].split()
    finally:
        os.close(file)
    return None if fields[0] in {b"Z", b"X"} else int(fields[19])


def judge(role: str, folder: str, stale: float) -> tuple[bool, str]:
    """Return whether the role lives, and the sentence that says why."""
    try:
        ages = heartbeats(folder, role)
    except OSError as error:
        return False, f"{folder} cannot be read: {error.strerror}."
    if not ages:
        return False, f"No {role} process has a slot in {folder}: not started yet."
    age = min(ages)
    if age > stale:
        return (
            False,
            f"The youngest of {len(ages)} {role} heartbeats is {age:.1f} s old.",
        )
    return True, f"A {role} process ticked {age:.1f} s ago."


def main(words: list[str]) -> int:
    """Judge and say it; 0 lives, 1 does not, 2 was asked wrongly."""
    try:
        alive, sentence = judge(*parse_arguments(words))
    except UsageError as error:
        sys.stderr.write(f"{error}\n{USAGE}\n")
        return 2
    sys.stdout.write(f"{sentence}\n")
    return 0 if alive else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
