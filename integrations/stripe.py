"""Stripe under the breaker ``stripe``: no write without an idempotency key.

The charges API is refused: it cannot take a payment that the holder has to confirm. Use
payment intents.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, TypeVar

from breakers import CircuitBreaker, get_breaker
from integrations.errors import MisuseError, SignatureError
from integrations.keys import may, need
from integrations.retries import protected_call
from integrations.sessions import make_session
from integrations.verdicts import is_failure

if TYPE_CHECKING:
    from stripe import Event, PaymentIntent, StripeClient

Result = TypeVar("Result")
NAME = "stripe"
TIMEOUT = 10.0
# Seconds that a webhook may be old, or ahead of our clock.
TOLERANCE = 300
_key: ContextVar[str] = ContextVar("stripe_idempotency_key", default="")


def breaker() -> CircuitBreaker:
    """Return the breaker of every call to Stripe."""
    return get_breaker(NAME, timeout=TIMEOUT, is_failure=is_failure)


def client() -> "StripeClient":
    """Return the SDK's client of this process: own retries off, deadline kept.

    Raises:
        NotConfiguredError: STRIPE_API_KEY is not set.
    """
    return _client(need("STRIPE_API_KEY"), may("STRIPE_API_BASE"), os.getpid())


@lru_cache(maxsize=1)
def _client(key: str, base: str, pid: int) -> "StripeClient":
    import stripe

    return stripe.StripeClient(
        key,
        http_client=_http_client(),
        max_network_retries=0,
        base_addresses={"api": base} if base else {},
    )


def call(fn: "Callable[[StripeClient], Result]", *, key: str = "") -> Result:
    """Call ``fn(client)`` under the breaker, up to three times.

    A call that writes needs a key of the thing it does (``order-12``) and writes once:
    Stripe answers a repetition with what it did the first time.

    Raises:
        NotConfiguredError: STRIPE_API_KEY is not set.
        MisuseError: it writes, and there is no key.
        CallRefusedError, CallTimeoutError, ServiceError: as in ``protected_call``.
    """
    sdk = client()
    with _using(key):
        return protected_call(breaker(), partial(fn, sdk), idempotent=True)


def create_payment(
    *, amount: int, currency: str, key: str, **more: Any
) -> "PaymentIntent":
    """Create a payment intent over an amount in the currency's smallest unit."""
    params: Any = {"amount": amount, "currency": currency, **more}
    return call(lambda sdk: sdk.v1.payment_intents.create(params), key=key)


def ping() -> None:
    """Read the balance."""
    call(lambda sdk: sdk.v1.balance.retrieve())


def read_webhook(body: bytes, signature: str, *, tolerance: int = TOLERANCE) -> "Event":
    """Return the event of a webhook whose signature holds for these very bytes.

    Within the tolerance the same event may come again: keep its id.

    Raises:
        SignatureError: it is forged, edited, or too old.
        NotConfiguredError: STRIPE_WEBHOOK_SECRET is not set.
    """
    import stripe

    secret = need("STRIPE_WEBHOOK_SECRET")
    try:
        event = stripe.Webhook.construct_event(body, signature, secret, tolerance)
    except (stripe.SignatureVerificationError, ValueError) as error:
        raise SignatureError(f"Stripe-Signature: {type(error).__name__}") from error
    if _signed_at(signature) > time.time() + tolerance:
        raise SignatureError("Stripe-Signature: from the future")
    return event  # type: ignore[no-any-return]


def _signed_at(signature: str) -> int:
    parts = dict(part.split("=", 1) for part in signature.split(",") if "=" in part)
    return int(parts["t"])


@contextmanager
def _using(key: str) -> Iterator[None]:
    token = _key.set(key)
    try:
        yield
    finally:
        _key.reset(token)


def _http_client() -> Any:
    """Return the SDK's transport over our session."""
    import httpcore2
    import httpx2
    import stripe

    session = make_session(httpx2, httpcore2)
    unreachable: Any = stripe.APIConnectionError

    class Transport(stripe.HTTPClient):
        name = "httpx2"

        def request(
            self,
            method: str,
            url: str,
            headers: Mapping[str, str] | None,
            post_data: Any = None,
            **_: Any,
        ) -> tuple[Any, int, Mapping[str, str]]:
            sent = guard_write(method, url, headers or {})
            try:
                answer = session.request(method, url, headers=sent, content=post_data)
            except httpx2.TransportError as error:
                raise unreachable(type(error).__name__) from error
            return answer.content, answer.status_code, answer.headers

        def close(self) -> None:
            session.close()

    return Transport()


def guard_write(method: str, url: str, headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of a request, with the caller's key if it writes.

    Raises:
        MisuseError: it writes without a key, or to the charges API.
    """
    if "/v1/charges" in url and method.lower() != "get":
        raise MisuseError("the charges API is not used; create a payment intent")
    if method.lower() == "get":
        return dict(headers)
    if not _key.get():
        raise MisuseError("a write needs key=, or a repetition doubles it")
    return {**headers, "Idempotency-Key": _key.get()}
