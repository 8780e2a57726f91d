"""What `make check` asks of Django: migrations, deployment checks, OpenAPI snapshot.

`python -m tests.check --write` writes the snapshot anew.
"""

import difflib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SNAPSHOT = ROOT / "docs" / "openapi.yaml"
# A deployment as it should be; nothing is connected to by these commands.
DEPLOYED = {
    "SECRET_KEY": "only-for-this-check-0123456789-abcdefghijklmnopqrstuvwxyz-ABC",
    "ALLOWED_HOSTS": "example.com",
    "TRUSTED_PROXIES": "1",
    "DATABASE_URL": "postgresql://web@127.0.0.1:1/none",
    "REDIS_URL": "redis://127.0.0.1:1/0",
}


def manage(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a management command as a deployment would."""
    with tempfile.TemporaryDirectory() as data:
        return subprocess.run(
            [sys.executable, "-W", "ignore::RuntimeWarning", "manage.py", *arguments],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "DATA_DIR": data, **DEPLOYED},
            capture_output=True,
            text=True,
            check=False,
        )


def failed(*arguments: str) -> bool:
    """Run a command and say what it said when it fails."""
    done = manage(*arguments)
    if done.returncode:
        sys.stderr.write(
            f"manage.py {' '.join(arguments)}:\n{done.stdout}{done.stderr}"
        )
    return done.returncode != 0


def schema() -> str:
    """Return the OpenAPI document; a warning of the generator is a failure."""
    done = manage("spectacular", "--validate", "--fail-on-warn")
    if done.returncode:
        sys.exit(f"spectacular:\n{done.stderr}")
    return done.stdout


def main() -> int:
    """Run every check; return 1 when one failed."""
    made = schema()
    if "--write" in sys.argv:
        SNAPSHOT.write_text(made)
    kept = SNAPSHOT.read_text() if SNAPSHOT.exists() else ""
    diff = list(difflib.unified_diff(kept.splitlines(), made.splitlines(), n=1))
    for line in diff:
        sys.stderr.write(line + "\n")
    if diff:
        sys.stderr.write("docs/openapi.yaml differs: python -m tests.check --write\n")
    bad = [
        bool(diff),
        failed("makemigrations", "--check", "--dry-run"),
        failed("check", "--deploy", "--fail-level", "WARNING"),
    ]
    return int(any(bad))


if __name__ == "__main__":
    sys.exit(main())
