"""Coinbase: the token of a request, and both kinds of webhook."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from integrations import coinbase
from integrations.errors import MisuseError, SignatureError
from tests.integrations.services import EC_KEY, PEM

SECRET = "shared-secret"
NOW = 1_790_000_000.0
HOOK = json.dumps({"id": "hook-1", "type": "onchain"}, indent=1).encode()
PAID = {"id": 1, "event": {"id": "e", "type": "charge:confirmed"}}
AT = datetime.fromtimestamp(NOW, UTC).isoformat().replace("+00:00", "Z")
PAID["event"]["created_at"] = AT
COMMERCE = json.dumps(PAID, indent=1).encode()


@pytest.fixture(autouse=True)
def _settings(settings):
    settings.COINBASE_WEBHOOK_SECRET = SECRET
    settings.COINBASE_API_KEY_NAME = "organizations/o/apiKeys/k"


def mac(signed: bytes, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def hook(body: bytes = HOOK, age: float = 0, secret: str = SECRET) -> dict[str, str]:
    at = int(NOW - age)
    signed = f"{at}.content-type x-event-id.application/json.e-1.".encode() + body
    value = f"t={at},v0=00,h=content-type x-event-id,v1={mac(signed, secret)}"
    return {
        "Content-Type": "application/json",
        "X-Event-Id": "e-1",
        "X-Hook0-Signature": value,
    }


def commerce(body: bytes = COMMERCE, secret: str = SECRET) -> dict[str, str]:
    return {"X-CC-Webhook-Signature": mac(body, secret)}


@pytest.mark.parametrize(
    "pem", [PEM, PEM.replace("\n", "\\n")], ids=["file", "one line"]
)
def test_an_ec_key_signs_a_token_for_one_request(settings, pem):
    settings.COINBASE_API_KEY = pem

    token = coinbase.make_token("GET", "https://api.coinbase.com/api/v3/x?limit=1")

    claims = jwt.decode(token, EC_KEY.public_key(), algorithms=["ES256"], issuer="cdp")
    assert claims["uri"] == "GET api.coinbase.com/api/v3/x"
    assert claims["exp"] - claims["nbf"] == 120
    headers = jwt.get_unverified_header(token)
    assert headers["kid"] == claims["sub"] == "organizations/o/apiKeys/k"
    assert len(headers["nonce"]) == 64


def test_an_ed25519_key_signs_as_well(settings):
    key = Ed25519PrivateKey.generate()
    raw, public = serialization.Encoding.Raw, key.public_key()
    seed = key.private_bytes(
        raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()
    )
    whole = seed + public.public_bytes(raw, serialization.PublicFormat.Raw)
    settings.COINBASE_API_KEY = base64.b64encode(whole).decode()

    token = coinbase.make_token("GET", "https://api.coinbase.com/api/v3/x")

    claims = jwt.decode(token, public, algorithms=["EdDSA"], issuer="cdp")
    assert claims["sub"] == "organizations/o/apiKeys/k"


@pytest.mark.parametrize("key", ["-----BEGIN nothing", "no base64", "c2hvcnQ="])
def test_a_key_that_cannot_sign_is_no_fault_of_the_service(start, settings, key):
    fake = start("coinbase")
    settings.COINBASE_API_KEY = key

    with pytest.raises(MisuseError, match="COINBASE_API_KEY"):
        coinbase.get("/api/v3/brokerage/accounts")

    assert fake.requests == []
    assert coinbase.breaker().counts()["failure"] == 0


def test_the_token_travels_with_the_request(start):
    fake = start("coinbase")

    coinbase.get("/api/v3/brokerage/accounts", limit="1")

    token = fake.requests[0].headers["authorization"].removeprefix("Bearer ")
    claims = jwt.decode(token, EC_KEY.public_key(), algorithms=["ES256"])
    assert claims["uri"].endswith("/api/v3/brokerage/accounts")


def test_signed_webhooks_of_both_kinds_are_read():
    one = coinbase.read_webhook(HOOK, hook(), now=NOW + 299)
    other = coinbase.read_webhook(COMMERCE, commerce(), now=NOW + 86400)

    assert (one["id"], other["event"]["type"]) == ("hook-1", "charge:confirmed")


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        pytest.param(HOOK, hook(secret="other"), id="another secret"),
        pytest.param(HOOK, hook(age=301), id="replayed"),
        pytest.param(HOOK, hook(age=-301), id="from the future"),
        pytest.param(json.dumps(json.loads(HOOK)).encode(), hook(), id="re-serialised"),
        pytest.param(HOOK, {**hook(), "X-Event-Id": "e-2"}, id="another header"),
        pytest.param(HOOK, {"X-Hook0-Signature": "t=,v1="}, id="nothing signed"),
        pytest.param(HOOK, {"X-Hook0-Signature": "v1=\xe9"}, id="odd characters"),
        pytest.param(b"[]", hook(b"[]"), id="no object"),
        pytest.param(COMMERCE, commerce(secret="other"), id="Commerce, another secret"),
        pytest.param(COMMERCE + b" ", commerce(), id="Commerce, a byte more"),
        pytest.param(b"{}", commerce(b"{}"), id="Commerce, no time"),
        pytest.param(b"\xff", commerce(b"\xff"), id="Commerce, no text"),
        pytest.param(COMMERCE, {}, id="no signature"),
    ],
)
def test_a_webhook_that_proves_nothing_is_refused(body, headers):
    with pytest.raises(SignatureError):
        coinbase.read_webhook(body, headers, now=NOW)


def test_a_commerce_webhook_older_than_its_repetitions_is_a_replay():
    with pytest.raises(SignatureError, match="older"):
        coinbase.read_webhook(COMMERCE, commerce(), now=NOW + 3 * 86400 + 1)


def test_a_signature_is_checked_before_the_body_is_parsed():
    with pytest.raises(SignatureError, match="does not hold"):
        coinbase.read_webhook(b"{not json", commerce(), now=NOW)
