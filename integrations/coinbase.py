"""Coinbase under the breaker ``coinbase``: read the account, check webhooks.

A thin client of our own. Two kinds of webhook come from Coinbase: the platform's
(``X-Hook0-Signature``, with a time in the signature) and Commerce's
(``X-CC-Webhook-Signature``, without one).
"""

import base64
import hashlib
import hmac
import json
import os
import re
import secrets
import time
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from breakers import CircuitBreaker, get_breaker
from integrations.errors import MisuseError, SignatureError, UnreadableAnswerError
from integrations.keys import may, need
from integrations.retries import protected_call
from integrations.sessions import make_session
from integrations.verdicts import is_failure

NAME = "coinbase"
TIMEOUT = 10.0
BASE = "https://api.coinbase.com"
# Seconds a token lives: what the service allows at most.
TOKEN_LIFE = 120
# Seconds that a webhook may be old, or ahead of our clock.
TOLERANCE = 300
# Commerce sends the same bytes again for three days until it is answered with a 200.
COMMERCE_TOLERANCE = 3 * 86400


def breaker() -> CircuitBreaker:
    """Return the breaker of every call to Coinbase."""
    return get_breaker(NAME, timeout=TIMEOUT, is_failure=is_failure)


def get(path: str, **params: str) -> dict[str, Any]:
    """Return what Coinbase says under a path, up to three tries.

    Raises:
        NotConfiguredError: COINBASE_API_KEY_NAME or COINBASE_API_KEY is not set.
        MisuseError: the key cannot sign.
        CallRefusedError, CallTimeoutError, ServiceError: as in ``protected_call``.
    """
    url = may("COINBASE_API_BASE", BASE).rstrip("/") + path
    # Outside the guard: imports and a key that cannot sign are no fault of the service.
    make_token("GET", url)
    session = _session(os.getpid())
    return protected_call(
        breaker(), lambda: _get(session, url, params), idempotent=True
    )


def ping() -> None:
    """Ask what the key may do."""
    get("/api/v3/brokerage/key_permissions")


def _get(session: Any, url: str, params: Mapping[str, str]) -> dict[str, Any]:
    token = make_token("GET", url)
    headers = {"Authorization": f"Bearer {token}"}
    answer = session.get(url, params=params, headers=headers)
    answer.raise_for_status()
    said = answer.json()
    if not isinstance(said, dict):
        raise UnreadableAnswerError(NAME, "answered something else", 200)
    return said


@lru_cache(maxsize=1)
def _session(pid: int) -> Any:
    import httpcore2
    import httpx2

    return make_session(httpx2, httpcore2)


def make_token(method: str, url: str) -> str:
    """Return the token of one request, good for that method and path alone.

    An EC key (PEM) signs with ES256, an Ed25519 key (base64) with EdDSA.

    Raises:
        NotConfiguredError: COINBASE_API_KEY_NAME or COINBASE_API_KEY is not set.
        MisuseError: the key cannot sign.
    """
    import jwt

    name, now, where = need("COINBASE_API_KEY_NAME"), int(time.time()), urlsplit(url)
    key, algorithm = _signing_key(need("COINBASE_API_KEY"))
    claims = {
        "sub": name,
        "iss": "cdp",
        "nbf": now,
        "exp": now + TOKEN_LIFE,
        "uri": f"{method} {where.netloc}{where.path}",
    }
    headers = {"kid": name, "nonce": secrets.token_hex()}
    return jwt.encode(claims, key, algorithm=algorithm, headers=headers)


def _signing_key(text: str) -> tuple[Any, str]:
    from cryptography.hazmat.primitives.asymmetric import ed25519
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        if "BEGIN" in text:
            # On one line of an environment file the breaks are written out.
            pem = text.replace("\\n", "\n").encode()
            return load_pem_private_key(pem, None), "ES256"
        both = base64.b64decode(text)  # the private half, then the public one
        return ed25519.Ed25519PrivateKey.from_private_bytes(both[:32]), "EdDSA"
    except ValueError:
        raise MisuseError(
            "COINBASE_API_KEY is no EC key (PEM) and no Ed25519 key (base64)"
        ) from None


def read_webhook(
    body: bytes, headers: Mapping[str, str], *, now: float | None = None
) -> dict[str, Any]:
    """Return what a webhook says once its signature holds for these very bytes.

    Within the tolerance the same event may come again: keep its id.

    Raises:
        SignatureError: it is forged, edited, or too old.
        NotConfiguredError: COINBASE_WEBHOOK_SECRET is not set.
    """
    secret = need("COINBASE_WEBHOOK_SECRET").encode()
    given = {key.lower(): value for key, value in headers.items()}
    now = time.time() if now is None else now
    if "x-hook0-signature" in given:
        _check_hook(body, given, secret, now)
        return _parse(body)
    _check_commerce(body, given.get("x-cc-webhook-signature", ""), secret)
    said = _parse(body)
    _check_age(_commerce_time(said), now, COMMERCE_TOLERANCE)
    return said


def _check_hook(
    body: bytes, headers: Mapping[str, str], secret: bytes, now: float
) -> None:
    parts = re.findall(r"(\w+)=([^,]*)", headers["x-hook0-signature"])
    fields = dict(parts)
    names = fields.get("h", "")
    values = ".".join(headers.get(name.lower(), "") for name in names.split())
    signed = f"{fields.get('t', '')}.{names}.{values}.".encode() + body
    if not _same(fields.get("v1", ""), signed, secret):
        raise SignatureError("X-Hook0-Signature does not hold")
    _check_age(float(fields["t"]), now, TOLERANCE)


def _check_commerce(body: bytes, signature: str, secret: bytes) -> None:
    if not _same(signature, body, secret):
        raise SignatureError("X-CC-Webhook-Signature does not hold")


def _same(signature: str, signed: bytes, secret: bytes) -> bool:
    """Compare in constant time; as bytes, because text may hold anything."""
    made = hmac.new(secret, signed, hashlib.sha256).hexdigest()
    return hmac.compare_digest(made.encode(), signature.strip().encode())


def _parse(body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body)
    except ValueError as error:
        raise SignatureError("the signed body is no JSON") from error
    if not isinstance(said, dict):
        raise SignatureError("the signed body is no object")
    return said


def _commerce_time(said: Mapping[str, Any]) -> float:
    try:
        return datetime.fromisoformat(said["event"]["created_at"]).timestamp()
    except (KeyError, TypeError, ValueError) as error:
        raise SignatureError("the signed body has no event.created_at") from error


def _check_age(signed_at: float, now: float, most: int) -> None:
    if signed_at < now - most:
        raise SignatureError(f"older than {most} s")
    if signed_at > now + TOLERANCE:
        raise SignatureError("from the future")
