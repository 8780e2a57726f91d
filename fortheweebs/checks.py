"""Numbered system checks for settings that are dangerous or cannot work.

E: refuses to start by `manage.py`. W: works, and is said. Wrong values never come here:
the settings stop the process first.
"""

import os
import stat
import sys
from collections.abc import Callable, Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Info, Tags, Warning, register

Finding = tuple[Callable[..., CheckMessage], str, str]


def _dangerous() -> Iterator[Finding]:
    if "*" in settings.ALLOWED_HOSTS:
        yield Error, "E001", "ALLOWED_HOSTS holds '*'; name the hosts."
    if settings.DEBUG and settings.HTTPS_ONLY:
        yield (
            Error,
            "E002",
            "DEBUG=1 shows source to strangers; unset it or HTTPS_ONLY.",
        )
    if settings.LOCAL_OPERATOR and settings.TRUSTED_PROXIES:
        yield (
            Error,
            "E003",
            "LOCAL_OPERATOR=1 behind a proxy makes every visitor an operator; unset one.",
        )
    if settings.PORT == settings.PROBE_PORT and settings.HOST == settings.PROBE_HOST:
        yield Error, "E004", "PORT and PROBE_PORT are the same; set one of them."


def _redirects() -> Iterator[Finding]:
    if settings.HTTPS_ONLY and not settings.TRUSTED_PROXIES:
        yield (
            Error,
            "E005",
            (
                "HTTPS_ONLY=1 with TRUSTED_PROXIES=0: gunicorn speaks plain HTTP, so every"
                " request would be redirected for ever; set TRUSTED_PROXIES to the number of"
                " proxies in front, or HTTPS_ONLY=0."
            ),
        )


def _impossible() -> Iterator[Finding]:
    if settings.OPENAI_API_KEY and not settings.OPENAI_MODEL:
        yield Error, "E006", "OPENAI_API_KEY is set without OPENAI_MODEL; name a model."
    for one, other in (
        ("SUPABASE_URL", "SUPABASE_SERVICE_KEY"),
        ("COINBASE_API_KEY_NAME", "COINBASE_API_KEY"),
    ):
        if bool(getattr(settings, one)) != bool(getattr(settings, other)):
            yield Error, "E007", f"{one} and {other} belong together; set both."
    if _gevent_asked_for():
        yield (
            Error,
            "E008",
            (
                "gevent is not supported: heartbeats and bounded waits need real threads;"
                " use the gthread worker of gunicorn.conf.py."
            ),
        )


def _gevent_asked_for() -> bool:
    asked = os.environ.get("GUNICORN_CMD_ARGS", "")
    return "gevent" in asked or "eventlet" in asked or "gevent.monkey" in sys.modules


def _files() -> Iterator[Finding]:
    data = settings.DATA_DIR
    if data.exists() and not os.access(data, os.W_OK | os.X_OK):
        yield Error, "E009", f"DATA_DIR {data} cannot be written by this user."
    secret = data / "secret_key"
    if secret.exists() and stat.S_IMODE(secret.stat().st_mode) & 0o077:
        yield Error, "E010", f"{secret} can be read by others; chmod 600 it."


def database_connections() -> int:
    """Return how many PostgreSQL connections one web instance may hold.

    A pool of 6, a heartbeat thread and a shipper for each worker; 5 for the watchdog.
    """
    return int(settings.WEB_WORKERS) * 8 + 5


def _deployment() -> Iterator[Finding]:
    if settings.EMBEDDED_REDIS:
        yield Warning, "W001", "REDIS_URL is not set: only `make run` starts a Redis."
    if settings.DATABASES["default"]["ENGINE"].endswith("sqlite3"):
        yield (
            Warning,
            "W002",
            (
                "DATABASE_URL is not set: SQLite serves one host and cannot guard the ledger"
                " against the application's own role."
            ),
        )
    if settings.STRIPE_API_KEY and not settings.STRIPE_WEBHOOK_SECRET:
        yield Warning, "W003", "STRIPE_WEBHOOK_SECRET is not set: webhooks are refused."
    yield (
        Info,
        "I001",
        f"One web instance holds up to {database_connections()} database connections.",
    )


def _messages(*sources: Callable[[], Iterator[Finding]]) -> list[CheckMessage]:
    return [
        kind(text, id=f"fortheweebs.{number}")
        for source in sources
        for kind, number, text in source()
    ]


@register(Tags.security)
def check_settings(**kwargs: Any) -> list[CheckMessage]:
    """Refuse what is dangerous or impossible."""
    # Only who serves redirects: a command in a second shell has no proxy to name.
    serving = [_redirects] if settings.ROLE == "web" else []
    return _messages(_dangerous, _impossible, _files, *serving)


@register(Tags.security, deploy=True)
def check_deployment(**kwargs: Any) -> list[CheckMessage]:
    """Say what a deployment should know."""
    return _messages(_deployment, *([] if settings.ROLE == "web" else [_redirects]))


def refuse_bad_settings() -> None:
    """Stop a server before it serves with a setting that a check refuses."""
    bad = [m for m in check_settings() if isinstance(m, Error)]
    if bad:
        raise SystemExit("\n".join(f"{m.id}: {m.msg}" for m in bad))
