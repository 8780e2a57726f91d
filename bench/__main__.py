"""Run every bench, each beside its rival, and print target and measured.

`python -m bench [--soak] [name ...]`; a line is `what | target | measured | ok or missed`.
"""

import subprocess
import sys
from pathlib import Path

BENCHES = (
    "ledger",
    "probes",
    "breakers",
    "breakers_fleet",
    "sizes",
    "units",
    "celery_probe",
)


def run(name: str, flags: list[str]) -> list[str]:
    """Run one bench, echo it, and return its lines."""
    command = [sys.executable, "-m", f"bench.{name}", *flags]
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            lines.append(line)
    if process.returncode:
        lines.append(f"{name} | ended with {process.returncode} | | missed\n")
        print(lines[-1], end="")
    return lines


def main() -> int:
    """Run the asked benches; return 1 when a target was missed."""
    flags = [word for word in sys.argv[1:] if word.startswith("--")]
    names = [word for word in sys.argv[1:] if not word.startswith("--")] or BENCHES
    here = [name for name in names if (Path(__file__).parent / f"{name}.py").exists()]
    lines = [line for name in here for line in run(name, flags)]
    missed = [line for line in lines if line.rstrip().endswith("| missed")]
    print(f"{len(missed)} missed of {sum('|' in line for line in lines)}")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
