"""The waits of a connection: encrypted, by a proxy, in a child process."""

import ipaddress
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import httpcore
import httpcore2
import httpx
import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from breakers import deadline
from integrations.fakes import fake_service
from integrations.http import guarded_request
from integrations.sessions import make_session
from tests.integrations.services import EC_KEY, PEM
from tests.server import ROOT

LIBRARIES = pytest.mark.parametrize(
    ("library", "core"),
    [(httpx2, httpcore2), (httpx, httpcore)],
    ids=["httpx2", "httpx"],
)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n"


@pytest.fixture
def certificate(tmp_path):
    """Make a certificate of the loopback address, and its key, as one file."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loopback")])
    now = datetime.now(UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder(name, name, EC_KEY.public_key(), 1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(EC_KEY, hashes.SHA256())
    )
    path = tmp_path / "cert.pem"
    path.write_text(PEM + made.public_bytes(serialization.Encoding.PEM).decode())
    return path


@pytest.fixture
def server(certificate):
    """Serve over TLS: the whole answer under /whole, byte by byte elsewhere."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    over = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(10)

    def serve() -> None:
        with listener, listener.accept()[0] as raw:
            raw.settimeout(10)
            with context.wrap_socket(raw, server_side=True) as connection:
                whole = b"/whole" in connection.recv(65536)
                connection.sendall(HEAD + b"x" * (40 if whole else 1))
                while not whole and not over.wait(0.05):
                    connection.sendall(b"x")

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"https://127.0.0.1:{listener.getsockname()[1]}"
    over.set()
    thread.join()


@LIBRARIES
def test_an_encrypted_answer_is_read(library, core, server, certificate):
    trust = ssl.create_default_context(cafile=certificate)
    session = make_session(library, core, verify=trust)

    with deadline(5):
        answer = session.get(f"{server}/whole")

    assert answer.text == "x" * 40


@LIBRARIES
def test_an_encrypted_trickle_ends_with_the_deadline(
    library, core, server, certificate
):
    trust = ssl.create_default_context(cafile=certificate)
    session = make_session(library, core, verify=trust)
    started = time.monotonic()

    with deadline(0.4), pytest.raises(library.ReadTimeout):
        session.get(server)

    assert 0.35 < time.monotonic() - started < 4


@LIBRARIES
def test_a_server_that_reads_nothing_ends_a_long_body(library, core):
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        session = make_session(library, core)
        started = time.monotonic()

        with deadline(0.4), pytest.raises(library.WriteTimeout):
            session.post(url, content=b"x" * (64 << 20))

    assert time.monotonic() - started < 4


def test_the_proxy_of_the_environment_is_used_and_keeps_the_deadline(monkeypatch):
    with fake_service("any", "ok", "trickle:5") as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        session = make_session(httpx2, httpcore2)
        answer = session.get("http://shop.invalid/items")
        started = time.monotonic()

        with deadline(0.3), pytest.raises(httpx2.ReadTimeout):
            session.get("http://shop.invalid/items")

    assert answer.json()["path"] == "/items"
    assert time.monotonic() - started < 4


def test_a_forked_child_has_connections_of_its_own():
    code = (
        "import os; from integrations import http;"
        "mine = id(http.session()); child = os.fork();"
        "same = id(http.session()) == mine;"
        "os._exit(same) if not child else print(os.waitpid(child, 0)[1], same)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "fortheweebs.settings"},
        capture_output=True,
        text=True,
    )

    assert done.stdout.strip() == "0 True", done.stderr


def test_many_threads_share_a_session(anywhere):
    answers: list[int] = []

    def ask() -> None:
        answers.append(guarded_request("shop", "GET", anywhere.url).status_code)

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert answers == [200] * 16
