"""A missing migration, a boot that is latched, and draining, on the real server."""

import signal

from tests.server import wait_for

UNDO = (
    "from django.db import connection as c;"
    "c.cursor().execute(\"DELETE FROM django_migrations WHERE app='health'\")"
)
REDO = (
    "from django.db.migrations.recorder import MigrationRecorder as R;"
    "from django.db import connection as c;"
    "R(c).record_applied('health', '0001_initial')"
)


def test_a_missing_migration_is_named_and_the_web_server_starts(own_site):
    site = own_site()
    site.manage("shell", "-c", UNDO)
    site.start_watchdog("--period", "0.5")
    site.start_web()

    staff = site.get("/api/health/startup")
    stranger = site.get("/api/health/startup", headers={"Forwarded": "for=1.2.3.4"})
    ready = site.get("/api/health/ready")
    live = site.get("/api/health/live")

    assert staff.status == stranger.status == ready.status == 503
    assert staff.json["missing"] == ["migrations"]
    assert staff.json["missingMigrations"] == ["health.0001_initial"]
    assert "health.0001_initial" in staff.json["error"]
    assert stranger.json["error"] == "Not started yet."
    assert "missingMigrations" not in stranger.json
    assert ready.json["checks"]["migrations"] is False
    assert live.status == 200

    site.manage("shell", "-c", REDO)
    wait_for(lambda: site.get("/api/health/startup").status == 200, 5)
    site.wait_ready()


def test_startup_stays_200_for_the_life_of_the_web_server(own_site):
    site = own_site()
    site.start_watchdog("--period", "0.5", "--timeout", "0.5")
    site.start_web()
    site.wait_ready()

    complete = site.get("/api/health/startup")
    site.stop("watchdog")
    (site.data / "run" / "snapshot.json").unlink()
    later = site.get("/api/health/startup")
    site.stop("web")
    site.start_web()
    next_boot = site.get("/api/health/startup")

    assert complete.status == later.status == 200
    assert next_boot.status == 503


def test_draining_turns_ready_but_not_live_and_loses_no_request(own_site):
    site = own_site()
    site.start_watchdog("--period", "0.5", "--timeout", "0.5")
    site.start_web()
    site.wait_ready()

    (site.data / "run" / "drain").touch()
    ready = site.get("/api/health/ready")
    live = site.get("/api/health/live")
    on_probe_port = site.probe("/api/health/ready")

    assert (ready.status, live.status, on_probe_port.status) == (503, 200, 503)
    assert ready.json["checks"]["accepting"] is False
    site.parts["web"].send_signal(signal.SIGTERM)
    assert site.parts["web"].wait(6) == 0
    assert site.slots("web") == []
    # The wish to drain was that life's: the next one begins without it.
    site.start_web()
    site.wait_ready()


def test_half_a_snapshot_is_no_snapshot(own_site):
    site = own_site(WEB_WORKERS="1")
    (site.data / "run").mkdir()
    (site.data / "run" / "snapshot.json").write_text('{"format":1')
    site.start_web()

    reply = site.get("/api/health/ready")

    assert reply.status == 503
    assert reply.json["lastHealthCheck"]["db"]["status"] == "unknown"
