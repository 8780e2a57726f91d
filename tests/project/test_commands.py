"""Management commands end with a sentence and a code, never with a traceback."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.nursery import nursery


def manage(data: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a management command on a folder of its own."""
    data.mkdir(exist_ok=True)
    kept = {"PATH": os.environ["PATH"], "DATA_DIR": str(data), "SECRET_KEY": "k" * 60}
    return nursery().run(["manage.py", *words], {**kept, **environ})


@pytest.mark.parametrize(
    "words", [["create_token", "operator"], ["ledger", "verify"], ["breaker", "list"]]
)
def test_a_command_on_an_empty_database_says_to_migrate(tmp_path, words):
    done = manage(tmp_path, *words)

    assert done.returncode in {1, 2}
    assert "migrate" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_command_on_an_unreachable_database_names_the_setting(tmp_path):
    done = manage(
        tmp_path,
        "create_token",
        "operator",
        DATABASE_URL="postgresql://me@127.0.0.1:1/shop?connect_timeout=1",
    )

    assert done.returncode == 1
    assert "DATABASE_URL" in done.stderr
    assert "Traceback" not in done.stderr


def test_preparing_twice_prints_the_operator_once(tmp_path):
    first = manage(tmp_path, "prepare")
    second = manage(tmp_path, "prepare")

    assert first.stdout.count("operator login: operator") == 1
    assert "password" not in second.stdout
    assert (first.returncode, second.returncode) == (0, 0)


def test_static_files_are_collected_again_only_after_a_change(tmp_path):
    manage(tmp_path, "prepare")
    stamp = tmp_path / "static" / ".digest"
    made = stamp.stat().st_mtime_ns

    manage(tmp_path, "prepare")

    assert stamp.stat().st_mtime_ns == made
    assert (tmp_path / "static" / "staticfiles.json").exists()
