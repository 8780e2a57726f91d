"""The runner's parts: set-up refusals, restarts, stopping in order."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fortheweebs import runner

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.fixture
def part():
    made: list[runner.Part] = []

    def start(command: list[str], name: str = "part") -> runner.Part:
        one = runner.Part(name, command, "web")
        one.start(dict(os.environ))
        made.append(one)
        return one

    yield start
    for one in made:
        one.kill_group()
        one.process.wait()


def test_a_local_run_has_an_operator_and_a_public_one_has_not():
    assert runner.defaults({})["LOCAL_OPERATOR"] == "1"
    assert runner.defaults({"HOST": "0.0.0.0"})["LOCAL_OPERATOR"] == "0"
    assert runner.defaults({"LOCAL_OPERATOR": "0"})["LOCAL_OPERATOR"] == "0"


def test_the_secret_key_is_made_once_for_its_owner_only(tmp_path):
    runner.make_secret_key(tmp_path)
    first = (tmp_path / "secret_key").read_text()
    runner.make_secret_key(tmp_path)

    assert (tmp_path / "secret_key").read_text() == first
    assert (tmp_path / "secret_key").stat().st_mode & 0o777 == 0o600
    assert len(first.strip()) >= 64


def test_a_data_dir_that_is_a_file_is_refused_with_advice(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(SystemExit, match=r"DATA_DIR .* set DATA_DIR"):
        runner.make_data_dir(tmp_path / "file" / "var")


def test_a_full_disk_is_refused_with_advice():
    # /dev/full stands for the disk: every write to it says ENOSPC.
    class Full(type(Path())):
        def open(self, *args: object, **kwargs: object):
            return Path("/dev/full").open("wb", buffering=0)

        def mkdir(self, *args: object, **kwargs: object) -> None:
            """Do nothing."""

    with pytest.raises(SystemExit, match="disk is full"):
        runner.make_data_dir(Full("/tmp/ftw-nowhere"))


def test_a_second_run_on_the_same_folder_is_refused(tmp_path):
    (tmp_path / "run").mkdir()
    first = runner.lock_data_dir(tmp_path)

    with pytest.raises(SystemExit, match="Another run"):
        runner.lock_data_dir(tmp_path)

    first.close()


def test_a_taken_port_is_named():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        with pytest.raises(SystemExit, match=f"PORT {port} on 127.0.0.1"):
            runner.check_port("PORT", "127.0.0.1", port)


def test_a_killed_part_comes_back(part):
    run = runner.Runner([part(SLEEP)], dict(os.environ))
    first = run.parts[0].process.pid
    os.kill(first, signal.SIGKILL)
    runner.wait_until(run.parts[0].is_dead, 5)

    alive = run.restart_the_dead()

    assert alive
    assert run.parts[0].process.pid != first
    assert run.parts[0].process.poll() is None


def test_a_part_that_keeps_dying_ends_the_run_with_exit_1(part):
    run = runner.Runner(
        [runner.Part("bad", [sys.executable, "-c", "raise SystemExit(3)"], "")],
        dict(os.environ),
    )

    assert run.run() == 1


def test_a_deaf_part_is_killed_with_its_whole_group(part, tmp_path):
    marker = tmp_path / "deaf"
    code = (
        "import pathlib, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f" pathlib.Path({str(marker)!r}).touch(); time.sleep(60)"
    )
    deaf = part([sys.executable, "-c", code])
    assert runner.wait_until(marker.exists, 10)

    runner.stop_parts([deaf], 0.3)

    assert deaf.process.returncode == -signal.SIGKILL


def test_parts_die_with_a_runner_that_is_killed():
    code = (
        "import os, sys, time; from fortheweebs import runner;"
        f"p = runner.Part('p', {SLEEP!r}, ''); p.start(dict(os.environ));"
        "print(p.process.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    child = int(parent.stdout.readline())

    parent.kill()
    parent.wait()
    parent.stdout.close()

    assert runner.wait_until(lambda: not alive(child), 5)


def alive(pid: int) -> bool:
    """Tell whether a process runs; one that nobody has reaped yet does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rsplit(")", 1)[1].split()[0] != "Z"


def test_output_is_prefixed_by_the_part(part, capfd):
    one = part([sys.executable, "-c", "print('hello')"], "web")
    said: list[str] = []

    def has_spoken() -> bool:
        said.append(capfd.readouterr().out)
        return "hello" in "".join(said)

    assert runner.wait_until(has_spoken, 10)
    assert "web      | hello" in "".join(said)
    one.process.wait(10)


def test_a_signal_stops_the_run_wherever_it_finds_it():
    # The loop's own wait is where a signal finds it most often.
    code = (
        "import os, signal, sys; from fortheweebs import runner;"
        f"r = runner.Runner([runner.Part('p', {SLEEP!r}, '')], dict(os.environ));"
        "signal.signal(signal.SIGTERM, r.stop_soon);"
        "print('up', flush=True); sys.exit(r.run())"
    )
    for _ in range(10):
        run = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        run.stdout.readline()

        run.terminate()

        assert run.wait(8) == 0
        run.stdout.close()
