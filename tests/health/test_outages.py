"""PostgreSQL and then Redis stopped by signal under load, on the real server."""

import threading
import time
from collections.abc import Callable

import pytest

from tests.server import Installation, Reply, wait_for


class Load:
    """Closed loops that read the database, a new connection a request."""

    def __init__(self, site: Installation, loops: int = 6) -> None:
        self.site, self.stop = site, threading.Event()
        self.replies: list[Reply] = []
        self.threads = [threading.Thread(target=self.run) for _ in range(loops)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join(5)

    def run(self):
        while not self.stop.is_set():
            reply = self.site.get("/api/health/history")
            self.replies.append(reply)
            if reply.status != 200:
                self.stop.wait(0.2)


@pytest.fixture(scope="module")
def pg_site():
    with Installation(postgres=True, LOCAL_OPERATOR="1") as site:
        site.start_watchdog("--period", "0.5", "--timeout", "0.5")
        site.start_web()
        site.wait_ready()
        yield site


def watch(site, until: Callable[[Reply], bool], seconds: float) -> list[Reply]:
    """Ask live and ready until ready says so; return every answer of both."""
    asked: list[Reply] = []

    def said():
        asked.append(site.get("/api/health/live"))
        assert asked[-1].status == 200
        asked.append(site.get("/api/health/ready"))
        time.sleep(0.05)
        return until(asked[-1])

    wait_for(said, seconds, "the answer of ready")
    return asked


@pytest.mark.parametrize("service", ["postgres", "redis"])
def test_probes_answer_and_ready_tells_while_a_dependency_hangs(pg_site, service):
    before = pg_site.slots("web")
    failing = {"postgres": "db", "redis": "cache"}[service]

    # Redis is the cache and the queue: either may be the first to fail.
    def told(reply: Reply) -> bool:
        return reply.status == 503 and not reply.json["checks"][failing]

    with Load(pg_site) as load:
        wait_for(lambda: any(r.status == 200 for r in load.replies), 3, "load")
        getattr(pg_site, f"stop_{service}")()
        down = watch(pg_site, told, 5)
        said = down[-1]
        port = pg_site.probe("/api/health/ready")
        pg_site.resume_services()
        up = watch(pg_site, lambda reply: reply.status == 200, 5)
        wait_for(lambda: load.replies[-1].status == 200, 5, "the load's recovery")

    assert all(reply.seconds < 1.9 for reply in down + up)
    assert said.json["ready"] is False
    assert said.headers["retry-after"] == "5"
    assert port.status == 503
    assert pg_site.slots("web") == before
    assert all(reply.status in {0, 200, 503} for reply in load.replies)


def test_a_scrape_is_answered_from_memory_while_the_database_hangs(pg_site):
    def scraped(wanted: str):
        reply = pg_site.probe("/metrics")
        return reply if wanted in reply.body.decode() else None

    wait_for(lambda: scraped("ftw_bugs{"), 8, "the bugs")
    pg_site.stop_postgres()
    down = wait_for(lambda: scraped('ftw_check_status{check="db"} 0.0'), 8, "the check")
    again = [pg_site.probe("/metrics") for _ in range(5)]
    pg_site.resume_services()
    wait_for(lambda: pg_site.get("/api/health/ready").status == 200, 8)

    for reply in (down, *again):
        assert reply.status == 200
        assert reply.seconds < 1.9
        assert b"ftw_bugs{" in reply.body
        assert b"ftw_ledger_size " in reply.body


def test_an_outage_is_told_once_for_each_change(pg_site):
    pg_site.stop_redis()
    wait_for(lambda: pg_site.get("/api/health/ready").status == 503, 5)
    pg_site.resume_services()
    wait_for(lambda: pg_site.get("/api/health/ready").status == 200, 5)

    def told():
        rows = pg_site.get("/api/health/history?check=cache").json["history"]
        return rows if rows and rows[-1]["type"] == "recover" else None

    rows = wait_for(told, 5, "artifacts")
    assert [row["type"] for row in rows[-2:]] == ["degrade", "recover"]
    assert (rows[-2]["from"], rows[-2]["to"]) == ("pass", "fail")
    kinds = [row["type"] for row in rows]
    assert kinds == ["degrade", "recover"] * (len(kinds) // 2)
