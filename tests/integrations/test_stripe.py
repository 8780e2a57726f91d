"""Writes to Stripe carry a key; webhooks prove their bytes and their time."""

import json
import time

import pytest
from stripe import WebhookSignature

from breakers import get_breaker
from integrations import stripe
from integrations.errors import MisuseError, NotConfiguredError, SignatureError

EVENT = {
    "id": "evt_1",
    "object": "event",
    "type": "payment_intent.succeeded",
    "data": {"object": {"id": "pi_1", "object": "payment_intent"}},
}
BODY = json.dumps(EVENT, indent=2).encode()
SECRET = "whsec_test"


@pytest.fixture(autouse=True)
def _secret(settings):
    settings.STRIPE_WEBHOOK_SECRET = SECRET


def signed(body: bytes = BODY, age: int = 0, secret: str = SECRET) -> str:
    return WebhookSignature.generate_signature_header(
        body.decode(), secret, int(time.time()) - age
    )


def test_every_try_of_a_write_carries_the_same_key(start):
    fake = start("stripe", "500", "cut", "ok")

    intent = stripe.create_payment(amount=1000, currency="eur", key="order-12")

    assert intent.id == "pi_1"
    keys = [seen.headers["idempotency-key"] for seen in fake.requests]
    assert keys == ["order-12"] * 3


def test_a_write_without_a_key_never_leaves(start):
    fake = start("stripe")

    with pytest.raises(MisuseError, match="key"):
        stripe.call(lambda sdk: sdk.v1.customers.create({"name": "A"}))

    assert fake.requests == []
    assert get_breaker("stripe").counts()["failure"] == 0


def test_the_charges_api_is_never_used(start):
    fake = start("stripe")

    with pytest.raises(MisuseError, match="payment intent"):
        stripe.call(
            lambda sdk: sdk.v1.charges.create({"amount": 1, "currency": "eur"}),
            key="order-12",
        )

    assert fake.requests == []


def test_a_signed_webhook_is_read():
    event = stripe.read_webhook(BODY, signed())

    assert (event.id, event.type) == ("evt_1", "payment_intent.succeeded")


@pytest.mark.parametrize(
    ("body", "signature"),
    [
        pytest.param(BODY, signed(secret="other"), id="another secret"),
        pytest.param(BODY, signed(age=301), id="replayed"),
        pytest.param(BODY, signed(age=-900), id="from the future"),
        pytest.param(json.dumps(EVENT).encode(), signed(), id="serialised again"),
        pytest.param(BODY + b" ", signed(), id="a byte more"),
        pytest.param(b"\xff", signed(), id="no text"),
        pytest.param(BODY, "", id="no signature"),
        pytest.param(BODY, "t=soon,v1=00", id="nonsense"),
        pytest.param(BODY, "v1=00", id="no time"),
    ],
)
def test_a_webhook_that_proves_nothing_is_refused(body, signature):
    with pytest.raises(SignatureError):
        stripe.read_webhook(body, signature)


def test_a_webhook_without_a_secret_to_check_it_is_refused(settings):
    settings.STRIPE_WEBHOOK_SECRET = ""

    with pytest.raises(NotConfiguredError):
        stripe.read_webhook(BODY, signed())
