"""What the environment may say, and what is refused with a sentence."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.db import connection

from tests.nursery import nursery

ROOT = Path(__file__).resolve().parents[2]
PRINT = (
    "import json; from fortheweebs import settings as s;"
    " print(json.dumps({k: v for k, v in vars(s).items() if k.isupper()}, default=str))"
)


def load(tmp_path: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Load the settings in a process of their own."""
    clean = {"PATH": os.environ["PATH"], "DATA_DIR": str(tmp_path)}
    return nursery().run(["-c", PRINT], {**clean, **environ})


def values(tmp_path: Path, **environ: str) -> dict:
    """Return the settings that an environment gives."""
    done = load(tmp_path, **{"SECRET_KEY": "k" * 50, **environ})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.django_db
def test_the_suite_runs_on_a_real_database_and_a_real_redis():
    User.objects.create(username="one")
    cache.set("key", "value")

    wanted = "sqlite" if os.environ.get("TEST_DATABASE") == "sqlite" else "postgresql"
    assert connection.vendor == wanted
    assert cache.get("key") == "value"


def test_an_empty_environment_gives_the_documented_defaults(tmp_path):
    got = values(tmp_path)

    assert (got["HOST"], got["PORT"], got["PROBE_PORT"]) == ("127.0.0.1", 3001, 4001)
    assert (got["WEB_WORKERS"], got["WEB_THREADS"]) == (2, 10)
    assert (got["DEBUG"], got["HTTPS_ONLY"], got["LOCAL_OPERATOR"]) == (
        False,
        True,
        False,
    )
    assert got["THROTTLE_RATES"] == {
        "report": [60, 60],
        "envelope": [1000, 300],
        "fingerprint": [100, 60],
    }
    assert got["DATABASES"]["default"]["ENGINE"].endswith("sqlite3")
    assert got["SESSION_COOKIE_SECURE"] is True


def test_all_wrong_values_are_named_at_once(tmp_path):
    wrong = {
        "PORT": "70000",
        "WEB_THREADS": "many",
        "DEBUG": "perhaps",
        "REPORT_RATE": "fast",
        "REDIS_URL": "amqp://host",
        "DATABASE_URL": "mysql://host/name",
        "SENTRY_KEYS": "1:short:shop",
        "ROLE": "king",
        "LEDGER_ORIGIN": "a b",
        "CORS_ALLOWED_ORIGINS": "*",
    }

    done = load(tmp_path, **wrong)

    assert done.returncode == 1
    assert done.stderr.startswith("Wrong settings:")
    assert set(re.findall(r"^  (\w+):", done.stderr, re.MULTILINE)) == {
        *wrong,
        "SECRET_KEY",
    }
    assert "Traceback" not in done.stderr


def test_a_secret_may_come_from_a_file(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("from-a-file\n")

    done = load(tmp_path, SECRET_KEY_FILE=str(secret))

    assert json.loads(done.stdout)["SECRET_KEY"] == "from-a-file"


def test_a_secret_file_that_is_missing_is_named(tmp_path):
    done = load(tmp_path, SECRET_KEY_FILE=str(tmp_path / "nothing"))

    assert done.returncode == 1
    assert "SECRET_KEY" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["HOST", "PROBE_HOST"])
def test_a_local_operator_refuses_to_serve_others(tmp_path, name):
    done = load(tmp_path, SECRET_KEY="k" * 50, LOCAL_OPERATOR="1", **{name: "0.0.0.0"})

    assert done.returncode == 1
    assert "LOCAL_OPERATOR" in done.stderr


def test_postgresql_waits_are_bounded_in_web_and_not_in_commands(tmp_path):
    url = "postgresql://me:secret@db.example:5432/shop"

    web = values(tmp_path, DATABASE_URL=url, ROLE="web")["DATABASES"]["default"]
    command = values(tmp_path, DATABASE_URL=url)["DATABASES"]["default"]

    assert web["OPTIONS"]["options"] == "-c statement_timeout=4500"
    assert web["OPTIONS"]["pool"]["timeout"] == 1
    assert "max_waiting" not in web["OPTIONS"]["pool"]
    assert "options" not in command["OPTIONS"]


@pytest.mark.parametrize(
    ("url", "broker"),
    [
        ("redis://host:6379/1", "redis://host:6379/1"),
        ("unix:///run/redis.sock", "redis+socket:///run/redis.sock"),
        (
            "unix:///run/redis.sock?db=3",
            "redis+socket:///run/redis.sock?virtual_host=3",
        ),
    ],
)
def test_one_redis_url_serves_cache_and_broker(tmp_path, url, broker):
    got = values(tmp_path, REDIS_URL=url)

    assert got["CACHES"]["default"]["LOCATION"] == url
    assert got["CELERY_BROKER_URL"] == broker


def test_the_example_file_names_every_variable_the_settings_read():
    source = (ROOT / "fortheweebs" / "settings.py").read_text()
    example = (ROOT / ".env.example").read_text()

    read = set(
        re.findall(r"_(?:text|flag|number|list|rate|url)\(\s*\"([A-Z_]+)\"", source)
    )
    read |= set(re.findall(r"_env\.value\(\"\w+\", \"([A-Z_]+)\"", source))
    told = set(re.findall(r"^([A-Z_]+)=.*# \S", example, re.MULTILINE))

    assert told == read


@pytest.mark.parametrize(
    ("role", "stream"),
    [("command", "stderr"), ("web", "stdout"), ("watchdog", "stdout")],
)
def test_a_server_logs_to_stdout_and_a_command_does_not(tmp_path, role, stream):
    got = values(tmp_path, ROLE=role)

    assert got["LOGGING"]["handlers"]["out"]["stream"] == f"ext://sys.{stream}"


@pytest.mark.parametrize("name", ["OPENAI_BASE_URL", "STRIPE_API_BASE", "SUPABASE_URL"])
def test_an_address_of_a_service_must_be_one(tmp_path, name):
    refused = load(tmp_path, SECRET_KEY="k" * 50, **{name: "api.example.com"})
    taken = values(tmp_path, **{name: "https://api.example.com/v1/"})

    assert refused.returncode == 1
    assert f"{name}: 'api.example.com' is not an address" in refused.stderr
    assert taken[name] == "https://api.example.com/v1"


def test_the_dead_mans_address_keeps_its_query_and_its_last_slash(tmp_path):
    refused = load(tmp_path, SECRET_KEY="k" * 50, DEADMAN_URL="ping.example.com/1")
    taken = values(tmp_path, DEADMAN_URL="https://ping.example.com/1/?create=1")

    assert refused.returncode == 1
    assert "DEADMAN_URL: 'ping.example.com/1' is not an address" in refused.stderr
    assert taken["DEADMAN_URL"] == "https://ping.example.com/1/?create=1"
