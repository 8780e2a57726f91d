"""Slots that lie, a control socket that lies: nobody is killed, and it is said."""

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from health.control import Control
from health.processes import Identity, identify
from health.slots import Role, Slot
from tests.health.conftest import FAST
from tests.health.test_acting import artifacts, flags
from tests.server import Installation, wait_for

SLEEP = (sys.executable, "-c", "import time; time.sleep(60)")


@pytest.fixture(scope="module")
def watched():
    """A web server under a watchdog that every test here leaves as it was."""
    with Installation(LOCAL_OPERATOR="1") as site:
        site.start_watchdog(*flags())
        site.start_web(config=FAST)
        site.wait_ready()
        yield site


@pytest.fixture
def victim():
    process = subprocess.Popen(SLEEP)
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def lie(watched):
    """Write the slot of another process, long frozen, as that process never did."""
    made = []

    def lie(role: Role, identity: Identity, *, size: int = 64) -> Path:
        folder = watched.data / "lies"
        folder.mkdir(exist_ok=True)
        slot = Slot(folder, role)
        words = memoryview(bytearray(slot.path.read_bytes())).cast("Q")
        slot.close()
        words[1], words[2], words[3] = identity.pid, identity.start_ticks, 1
        path = watched.data / "run" / f"{role.word}-{identity}.slot"
        path.write_bytes(words.tobytes()[:size])
        made.append(path)
        return path

    yield lie
    for path in made:
        path.unlink(missing_ok=True)


def wait_for_sentence(site: Installation, sentence: str) -> None:
    wait_for(lambda: sentence in site.output("watchdog"), 6, sentence)


def refusals(site: Installation, pid: int) -> list[dict]:
    found = artifacts(site, "refused")
    return [one["details"] for one in found if one["subject"].endswith(f"/{pid}")]


@pytest.mark.parametrize(
    ("role", "sentence"),
    [
        (Role.WEB, "its parent is not our master"),
        (Role.POOL, "its parent is not our master"),
        (Role.WORKER, "it did not make its slot"),
        (Role.BEAT, "it did not make its slot"),
    ],
)
def test_a_slot_that_names_a_process_of_ours_is_not_believed(
    watched, lie, victim, role, sentence
):
    wait_for(lambda: identify(victim.pid).start_ticks, 2)
    time_to_be_judged = identify(victim.pid)

    lie(role, time_to_be_judged)

    (refused,) = wait_for(lambda: refusals(watched, victim.pid), 6, "the refusal")
    assert refused["refused"] == "refused_identity"
    assert refused["reason"] == sentence
    assert refused["heartbeat_age_ms"] > 0
    assert victim.poll() is None
    wait_for_sentence(watched, sentence)


def test_a_process_of_another_user_is_not_touched(watched, lie):
    if os.geteuid() == 0:
        other = subprocess.Popen(
            [shutil.which("sleep"), "60"], user="nobody", group=0, extra_groups=[]
        )
        pid = other.pid
    else:
        other, pid = None, 1
    try:
        lie(Role.BEAT, identify(pid))

        (refused,) = wait_for(lambda: refusals(watched, pid), 6, "the refusal")
        assert refused["reason"] == "it belongs to another user"
        assert other is None or other.poll() is None
        wait_for_sentence(watched, "it belongs to another user")
    finally:
        if other is not None:
            other.kill()
            other.wait()


def test_a_reused_pid_is_another_process(watched, lie, victim):
    now = identify(victim.pid)
    before = Identity(now.pid, now.start_ticks - 1)

    path = lie(Role.WORKER, before)

    wait_for(lambda: not path.exists(), 6, "the sweep")
    assert victim.poll() is None
    assert refusals(watched, victim.pid) == []
    wait_for_sentence(watched, f"/{victim.pid}")


@pytest.mark.parametrize("size", [0, 63])
def test_a_truncated_slot_is_nobodys(watched, lie, victim, size):
    path = lie(Role.BEAT, identify(victim.pid), size=size)

    wait_for_sentence(watched, path.name)
    assert victim.poll() is None
    assert refusals(watched, victim.pid) == []


# -- the control socket ----------------------------------------------------------------
class Liar:
    """A control socket of this process that answers as it is told."""

    def __init__(self, path: Path, answer) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(8)
        self.answer = answer
        threading.Thread(target=self.run, daemon=True).start()

    def run(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.answer, args=(sock,), daemon=True).start()

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def framed(data: bytes):
    def answer(sock: socket.socket) -> None:
        with sock:
            sock.recv(4096)
            sock.sendall(struct.pack(">I", len(data)) + data)

    return answer


def hang(sock: socket.socket) -> None:
    time.sleep(5)
    sock.close()


def drip(sock: socket.socket) -> None:
    with sock:
        sock.sendall(struct.pack(">I", 100))
        for _ in range(50):
            try:
                sock.sendall(b"x")
            except OSError:
                return
            time.sleep(0.1)


def huge(sock: socket.socket) -> None:
    with sock:
        sock.recv(4096)
        sock.sendall(struct.pack(">I", 2**31))


@pytest.fixture
def control(tmp_path):
    """Ask a control socket of this process, with 0.3 s for an answer."""
    made: list[Liar] = []
    path = tmp_path / "gunicorn.ctl"

    def control(answer=None, *, master: Identity | None = None) -> Control:
        if answer is not None:
            made.append(Liar(path, answer))
        return Control(path, lambda: master or identify(), seconds=0.3)

    yield control
    for liar in made:
        liar.close()


@pytest.mark.parametrize("answer", [hang, drip])
def test_a_master_that_does_not_answer_owes_it_from_the_question_on(control, answer):
    asked = control(answer)
    began = time.monotonic_ns()

    asked.ask()
    asked.ask()

    now = time.monotonic_ns()
    assert 0.5 < asked.silent(now) <= (now - began) / 1e9
    assert asked.said == "the master does not answer"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (framed(json.dumps({"id": 1, "status": "ok", "data": {}}).encode()), ""),
        (framed(b'{"status": "error"}'), ""),
        (framed(b"[1]"), "nonsense"),
        (framed(b"\xff\xfe"), "nonsense"),
        (framed(b"{"), "nonsense"),
        (huge, "nonsense"),
        (lambda sock: sock.close(), "it cannot be asked"),
        (None, "it cannot be asked"),
    ],
)
def test_whatever_else_a_control_socket_says_is_no_silence(control, answer, said):
    asked = control(answer)

    asked.ask()

    assert asked.silent(time.monotonic_ns() + 10**12) == 0
    assert asked.said == said


def test_a_socket_of_another_process_is_not_the_masters(control):
    asked = control(hang, master=Identity(1, 1))

    asked.ask()

    assert asked.silent(time.monotonic_ns() + 10**12) == 0
    assert asked.said == "it belongs to another process"


def test_without_a_master_nobody_is_asked(tmp_path):
    asked = Control(tmp_path / "gunicorn.ctl", lambda: None)

    asked.ask()

    assert asked.silent(time.monotonic_ns()) == 0


def test_a_control_socket_put_in_the_masters_place_kills_nobody(own_site):
    site = own_site()
    site.start_watchdog(*flags(master_hung=0.5))
    site.start_web(config=FAST)
    path = site.sockets / "gunicorn.ctl"
    wait_for(path.exists, 5, "the master's own")
    path.unlink()
    liar = Liar(path, hang)
    try:
        wait_for_sentence(site, "it belongs to another process")
        watched_since = time.monotonic()
        wait_for(lambda: time.monotonic() - watched_since > 1.5, 3)
    finally:
        liar.close()
        path.unlink(missing_ok=True)

    assert site.parts["web"].poll() is None
    assert artifacts(site, "intent") == []


def test_a_stopped_watchdog_that_goes_on_kills_nobody_for_its_own_pause(watched):
    workers = watched.children("web")
    everyone = [watched.parts["watchdog"].pid, watched.parts["web"].pid, *workers]

    for pid in everyone:
        os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    wait_for(lambda: time.monotonic() - began > 4, 6)
    os.kill(everyone[0], signal.SIGCONT)
    wait_for(lambda: time.monotonic() - began > 4.5, 6)
    for pid in everyone[1:]:
        os.kill(pid, signal.SIGCONT)

    wait_for(lambda: watched.get("/api/health/ready").status == 200, 5, "ready")
    assert watched.children("web") == workers
