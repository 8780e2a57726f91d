"""What the ledger costs, beside its floors and rivals: `python -m bench.ledger`.

Each line is `what | target | measured | ok or missed`. Ratios are medians of passes
that take turns. `--soak` adds the long ones: a million entries, a minute's outage,
six writers with a thousand appends each.
"""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
VENDORS = ("postgresql", "sqlite")


def rivals() -> Path | None:
    """Return the Python of the rivals' environment, made on demand."""
    python = HERE / ".venv" / "bin" / "python"
    done = HERE / ".venv" / ".ledger"
    if not done.exists():
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", HERE / ".venv"], check=True)
        install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        wanted = HERE / "requirements.txt"
        if subprocess.run([*install, "-r", wanted], check=False).returncode:
            return None
        done.touch()
    return python


def main() -> int:
    """Measure on both databases, each in a process of its own."""
    python = rivals()
    if python is None:
        print("ledger rivals | installed | not to be had | missed", flush=True)
    status = 0
    for vendor in VENDORS:
        env = {**os.environ, "LEDGER_RIVALS": str(python or "")}
        if vendor == "sqlite":
            env["TEST_DATABASE"] = "sqlite"
        command = [sys.executable, "-m", "bench.ledger_run", *sys.argv[1:]]
        status |= subprocess.run(command, env=env, check=False).returncode
    return status


if __name__ == "__main__":
    sys.exit(main())
