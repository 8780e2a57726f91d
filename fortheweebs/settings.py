"""Every setting of the project, typed from the environment; see .env.example.

Each value may also come from a file named by ``NAME_FILE``, or from the file NAME of
``$CREDENTIALS_DIRECTORY``. All wrong values are
named at once and stop the process with a sentence, before anything is started.
"""

import hashlib
import ipaddress
import os
import re
import socket
from pathlib import Path
from typing import Any

import dj_database_url
import django_stubs_ext
from environs import FileAwareEnv, validate

from fortheweebs.logs import logging_config
from ledger.waits import bounded_connection

# Lets ModelAdmin[Bug] and its like be written at run time too.
django_stubs_ext.monkeypatch()

BASE_DIR = Path(__file__).resolve().parent.parent

_wrong: list[str] = []


def _refuse(name: str, sentence: str) -> None:
    """Collect a wrong value; they are all named together at the end of this file."""
    _wrong.append(f"{name}: {sentence}")


def _take_credentials() -> None:
    """Read a credential that systemd hands over as NAME as if NAME_FILE named it."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    try:
        found = sorted(Path(folder).iterdir()) if folder else []
    except OSError as error:
        _refuse("CREDENTIALS_DIRECTORY", f"{folder} cannot be read: {error.strerror}")
        return
    for path in found:
        os.environ.setdefault(f"{path.name}_FILE", str(path))


_take_credentials()


class _Env(FileAwareEnv):
    """An environment whose NAME_FILE may also be missing, with a sentence."""

    def value(self, kind: str, name: str, default: Any, **options: Any) -> Any:
        """Read one variable; a wrong one is collected and replaced by its default."""
        try:
            if self.str(name, "").strip() == "":
                return default
            return getattr(self, kind)(name, default, **options)
        except Exception as error:  # noqa: BLE001 - environs raises many kinds
            _refuse(name, re.sub(r"^.*?invalid: ", "", str(error)))
            return default


_env = _Env()


def _text(name: str, default: str = "") -> str:
    return str(_env.value("str", name, default)).strip()


def _flag(name: str, *, default: bool) -> bool:
    return bool(_env.value("bool", name, default))


def _number(name: str, default: int, low: int, high: int) -> int:
    return int(_env.value("int", name, default, validate=validate.Range(low, high)))


def _url(name: str, *, query: bool = False) -> str:
    text = _text(name) if query else _text(name).rstrip("/")
    shape = r"https?://[^\s/?#]+(/[^\s?#]*)?" + (r"(\?[^\s#]*)?" if query else "")
    if text and not re.fullmatch(shape, text):
        _refuse(name, f"{text!r} is not an address; write https://host/path")
        return ""
    return text


def _list(name: str, default: list[str]) -> list[str]:
    return [part.strip() for part in _env.value("list", name, default) if part.strip()]


def _rate(name: str, default: str) -> tuple[int, int] | None:
    """Read ``60/min`` or ``1000/5min`` as (count, seconds); ``off`` is None."""
    text = _text(name, default)
    if text == "off":
        return None
    match = re.fullmatch(r"([1-9]\d{0,8})/(\d{0,3})(s|sec|min|h|hour|day)", text)
    if not match:
        _refuse(name, f"{text!r} is not a rate; write 60/min, 1000/5min or off")
        return _rate("", default)
    unit = {"s": 1, "sec": 1, "min": 60, "h": 3600, "hour": 3600, "day": 86400}
    return int(match[1]), int(match[2] or 1) * unit[match[3]]


# -- Where this process is ---------------------------------------------------------
DATA_DIR = Path(_text("DATA_DIR", str(BASE_DIR / "var"))).absolute()
RUN_DIR = DATA_DIR / "run"
SPOOL_DIR = DATA_DIR / "spool"
LOG_DIR = DATA_DIR / "logs"
ANCHORS_FILE = DATA_DIR / "anchors.jsonl"
# Short, because a socket path holds 107 bytes at most; derived from DATA_DIR, so that
# a command in a second shell finds the same sockets.
SOCKET_DIR = Path(
    f"/tmp/ftw-{os.getuid()}-{hashlib.sha256(str(DATA_DIR).encode()).hexdigest()[:12]}"  # noqa: S108 - 0700, owner checked by who makes it
)
ROLES = ("web", "worker", "beat", "watchdog", "command")
ROLE = _text("ROLE", "command")
if ROLE not in ROLES:
    _refuse("ROLE", f"{ROLE!r} is not one of {', '.join(ROLES)}")
if ROLE in {"web", "worker"}:
    # Before prometheus_client is imported: it then counts into files that the probe
    # port merges. Never in the watchdog, which would merge itself.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(RUN_DIR / "prom" / ROLE)
    try:
        (RUN_DIR / "prom" / ROLE).mkdir(parents=True, exist_ok=True)
    except OSError as _error:
        _refuse("DATA_DIR", f"{DATA_DIR} cannot be used: {_error.strerror}")
NODE_NAME = _text("NODE_NAME", socket.gethostname())[:50]
VERSION = "0.1.0"
HOST = _text("HOST", "127.0.0.1")
PORT = _number("PORT", 3001, 1, 65535)
PROBE_HOST = _text("PROBE_HOST", "127.0.0.1")
PROBE_PORT = _number("PROBE_PORT", min(PORT + 1000, 65535), 1, 65535)
SERVICE_URL = _text("SERVICE_URL", f"http://127.0.0.1:{PORT}").rstrip("/")
WEB_WORKERS = _number("WEB_WORKERS", 2, 1, 64)
WEB_THREADS = _number("WEB_THREADS", 10, 1, 256)
GRACEFUL_TIMEOUT = _number("GRACEFUL_TIMEOUT", 15, 1, 600)
LIVE_MAX_RSS = _number("LIVE_MAX_RSS", 2 << 30, 64 << 20, 1 << 50)

# -- Django ------------------------------------------------------------------------
DEBUG = _flag("DEBUG", default=False)
SECRET_KEY = _text("SECRET_KEY")
if not SECRET_KEY:
    try:
        SECRET_KEY = (DATA_DIR / "secret_key").read_text().strip()
    except OSError:
        _refuse(
            "SECRET_KEY",
            "is not set; set SECRET_KEY or SECRET_KEY_FILE, or run `make run` once,"
            " which makes DATA_DIR/secret_key",
        )
HTTPS_ONLY = _flag("HTTPS_ONLY", default=True)
TRUSTED_PROXIES = _number("TRUSTED_PROXIES", 0, 0, 10)
LOCAL_OPERATOR = _flag("LOCAL_OPERATOR", default=False)
ALLOWED_HOSTS = _list("ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = _list("CSRF_TRUSTED_ORIGINS", [])
CORS_ALLOWED_ORIGINS = _list("CORS_ALLOWED_ORIGINS", [])
for _name in ("CSRF_TRUSTED_ORIGINS", "CORS_ALLOWED_ORIGINS"):
    for _origin in globals()[_name]:
        if not re.fullmatch(r"https?://[A-Za-z0-9.*_\-\[\]:]+", _origin):
            _refuse(_name, f"{_origin!r} is not an origin; write https://host:port")

INSTALLED_APPS = [
    "fortheweebs.apps.ConsoleConfig",
    "fortheweebs.apps.FortheweebsConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "knox",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "corsheaders",
    "csp",
    "axes",
    "django_structlog",
    "ledger",
    "breakers",
    "health",
    "bugfixer",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "fortheweebs.middleware.LogMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "fortheweebs.middleware.DatabaseAwayMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "axes.middleware.AxesMiddleware",
]
ROOT_URLCONF = "fortheweebs.urls"
WSGI_APPLICATION = "fortheweebs.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
            "builtins": ["fortheweebs.tags"],
        },
    }
]
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "admin:login"
STATIC_URL = "/static/"
# The image carries its static files beside the code; elsewhere they lie in DATA_DIR.
_baked = BASE_DIR / "staticfiles"
STATIC_ROOT = _baked if _baked.is_dir() else DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 4 << 20
DATA_UPLOAD_MAX_NUMBER_FIELDS = 1000

# -- Browser security --------------------------------------------------------------
CSRF_FAILURE_VIEW = "fortheweebs.api.csrf_failed"
SESSION_ENGINE = "fortheweebs.sessions"
SESSION_COOKIE_AGE = 8 * 3600
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS_ONLY
CSRF_COOKIE_HTTPONLY = True
SECURE_SSL_REDIRECT = HTTPS_ONLY
SECURE_HSTS_SECONDS = 31536000 if HTTPS_ONLY else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS_ONLY
SECURE_HSTS_PRELOAD = HTTPS_ONLY
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_PROXY_SSL_HEADER = (
    ("HTTP_X_FORWARDED_PROTO", "https") if TRUSTED_PROXIES else None
)
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "object-src": ["'none'"],
        "base-uri": ["'self'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
    }
}
CORS_URLS_REGEX = (
    r"^/api/(bug-fixer/(report|analyze|list|resolve|health)"
    r"|\d+/(envelope|store|security)/)$"
)
CORS_ALLOW_METHODS = ["GET", "POST", "OPTIONS"]
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = 0.25  # hours
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_CLIENT_IP_CALLABLE = "fortheweebs.middleware.client_address"
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_ENABLE_ADMIN = False
AXES_LOCKOUT_CALLABLE = "fortheweebs.status.locked_out"
AXES_VERBOSE = False
SILENCED_SYSTEM_CHECKS = ["axes.W003"]

# -- Database: IMMEDIATE + WAL gave 864 requests a second and no error where Django's
# default answered 64 % of them with a 500 ("database is locked").
DB_WAIT: float | None = {"web": 5.0, "command": None}.get(ROLE, 2.0)
DATABASE_URL = _text("DATABASE_URL", f"sqlite:///{DATA_DIR / 'db.sqlite3'}")
try:
    _database: dict[str, Any] = dict(dj_database_url.parse(DATABASE_URL))
except ValueError as _error:
    _refuse(
        "DATABASE_URL", f"cannot be read ({_error}); write postgresql://user@host/name"
    )
    _database = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
if _database["ENGINE"] == "django.db.backends.postgresql":
    _database["CONN_MAX_AGE"] = 0
    _database["DISABLE_SERVER_SIDE_CURSORS"] = False
    _database.setdefault("OPTIONS", {}).update(connect_timeout=2)
    if DB_WAIT is not None:
        # A little below the wait: a live server ends a long query itself, and the
        # connection is kept.
        _database["OPTIONS"]["options"] = "-c statement_timeout=4500"
    _database["OPTIONS"]["pool"] = {
        "min_size": 0 if ROLE == "command" else 2,
        "max_size": 6,
        "timeout": 3 if DB_WAIT is None else 1,
        # The default doubles to 300 s: after an outage of 40 s errors went on for 6 s.
        "reconnect_timeout": 0.1,
        "connection_class": bounded_connection(DB_WAIT),
    }
elif _database["ENGINE"] == "django.db.backends.sqlite3":
    _database["CONN_MAX_AGE"] = 60
    _database["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL;",
    }
else:
    _refuse("DATABASE_URL", "is neither PostgreSQL nor SQLite")
DATABASES = {"default": _database}

# -- Redis: one URL for cache and broker; none means the embedded one of `make run`.
REDIS_URL = _text("REDIS_URL")
EMBEDDED_REDIS = not REDIS_URL
if EMBEDDED_REDIS:
    REDIS_URL = f"unix://{SOCKET_DIR}/redis.sock"
elif not re.match(r"(rediss?|unix)://", REDIS_URL):
    _refuse("REDIS_URL", "must begin with redis://, rediss:// or unix://")
# redis-py waits 5 s by default; a hung Redis would hold a thread that long per call.
REDIS_TIMEOUTS = {"socket_timeout": 0.25, "socket_connect_timeout": 0.25}
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "OPTIONS": dict(REDIS_TIMEOUTS),
        "KEY_PREFIX": "ftw",
    }
}
CELERY_BROKER_URL = re.sub(
    r"^unix://([^?]*)\??(?:db=(\d+))?$",
    lambda found: (
        f"redis+socket://{found[1]}?virtual_host={found[2]}"
        if found[2]
        else f"redis+socket://{found[1]}"
    ),
    REDIS_URL,
)

# Each is watched by a canary of its own; a worker takes the first unless -Q says more.
QUEUES = ("celery",)

# -- API ---------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "fortheweebs.access.BearerAuthentication",
        "fortheweebs.access.StaffSessionAuthentication",
        "fortheweebs.access.LoopbackAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["fortheweebs.access.StaffOnly"],
    "DEFAULT_THROTTLE_CLASSES": ["fortheweebs.throttles.ScopedThrottle"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "fortheweebs.negotiation.Negotiation",
    # ?format= is a parameter like any other: one that no route knows.
    "URL_FORMAT_OVERRIDE": None,
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "fortheweebs.api.handle_exception",
    "NUM_PROXIES": TRUSTED_PROXIES,
    # None of them is asked for by ?version=, which would end in a header.
    "ALLOWED_VERSIONS": [VERSION],
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
REST_KNOX = {
    "AUTH_HEADER_PREFIX": "Bearer",
    "TOKEN_TTL": None,  # create_token sets one for each
    "AUTO_REFRESH": False,
}
THROTTLE_RATES = {
    "report": _rate("REPORT_RATE", "60/min"),
    "envelope": _rate("ENVELOPE_RATE", "1000/5min"),
    "fingerprint": _rate("FINGERPRINT_RATE", "100/min"),
}
SPECTACULAR_SETTINGS = {
    "TITLE": "ForTheWeebs self-healing API",
    "DESCRIPTION": "Probes, ledger, circuit breakers and bug reports.",
    "VERSION": VERSION,
    "SERVE_PERMISSIONS": ["fortheweebs.access.StaffOnly"],
    "SERVE_INCLUDE_SCHEMA": False,
    # A direct local caller sends nothing, so nothing of it is described.
    "AUTHENTICATION_WHITELIST": [
        "fortheweebs.access.BearerAuthentication",
        "fortheweebs.access.StaffSessionAuthentication",
    ],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "fortheweebs.openapi.document_refusals",
        "fortheweebs.openapi.bound_numbers",
    ],
}

# -- Ledger, bug reports, outside services -----------------------------------------
LEDGER_ORIGIN = _text("LEDGER_ORIGIN", "fortheweebs")
if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}", LEDGER_ORIGIN):
    _refuse(
        "LEDGER_ORIGIN", "may hold letters, digits, dot, dash, underscore and slash"
    )
RETENTION_DAYS = _number("RETENTION_DAYS", 90, 1, 36500)
AI_DAILY_USD = float(_env.value("float", "AI_DAILY_USD", 5.0))
DEADMAN_URL = _url("DEADMAN_URL", query=True)
OPENAI_API_KEY = _text("OPENAI_API_KEY")
OPENAI_BASE_URL = _url("OPENAI_BASE_URL")
OPENAI_MODEL = _text("OPENAI_MODEL")
STRIPE_API_KEY = _text("STRIPE_API_KEY")
STRIPE_API_BASE = _url("STRIPE_API_BASE")
STRIPE_WEBHOOK_SECRET = _text("STRIPE_WEBHOOK_SECRET")
SUPABASE_URL = _url("SUPABASE_URL")
SUPABASE_SERVICE_KEY = _text("SUPABASE_SERVICE_KEY")
COINBASE_API_KEY_NAME = _text("COINBASE_API_KEY_NAME")
COINBASE_API_KEY = _text("COINBASE_API_KEY")
COINBASE_API_BASE = _url("COINBASE_API_BASE")
COINBASE_WEBHOOK_SECRET = _text("COINBASE_WEBHOOK_SECRET")
# Each with the seconds a call may take; everything else is breakers.options' default.
BREAKERS: dict[str, dict[str, Any]] = {
    "openai": {"timeout": 30.0},
    "stripe": {"timeout": 10.0},
    "supabase": {"timeout": 5.0},
    "coinbase": {"timeout": 10.0},
}
SENTRY_KEYS: dict[int, tuple[str, str]] = {}
for _entry in _list("SENTRY_KEYS", []):
    _match = re.fullmatch(r"(\d{1,9}):([0-9a-f]{32}):([a-z0-9_-]{1,40})", _entry)
    if _match:
        SENTRY_KEYS[int(_match[1])] = (_match[2], _match[3])
    else:
        _refuse("SENTRY_KEYS", "write project:32 hex key:system, comma between entries")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


if LOCAL_OPERATOR and not (_is_loopback(HOST) and _is_loopback(PROBE_HOST)):
    _refuse(
        "LOCAL_OPERATOR",
        f"gives every local caller the operator role, so HOST ({HOST}) and PROBE_HOST"
        f" ({PROBE_HOST}) must be loopback addresses; unset it to serve others",
    )
LOGGING = logging_config(
    debug=DEBUG, stream="stderr" if ROLE == "command" else "stdout"
)
DJANGO_STRUCTLOG_CELERY_ENABLED = False

if _wrong:
    raise SystemExit("Wrong settings:\n  " + "\n  ".join(_wrong))
