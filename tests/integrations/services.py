"""The four services as tests see them: how to point at a fake, how to ask."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from integrations import coinbase, http, openai, stripe, supabase

EC_KEY = ec.generate_private_key(ec.SECP256R1())
PEM = EC_KEY.private_bytes(
    serialization.Encoding.PEM,
    serialization.PrivateFormat.TraditionalOpenSSL,
    serialization.NoEncryption(),
).decode()
MESSAGES = [{"role": "user", "content": "Hello?"}]


@dataclass(frozen=True)
class Service:
    """One protected client, its settings for a fake, a read and a repeated write."""

    name: str
    ask: Callable[[], Any]
    ping: Callable[[], None]
    url: str
    more: dict[str, str] = field(default_factory=dict)

    def settings(self, url: str) -> dict[str, str]:
        return {self.url: url, **self.more}


def read_bugs() -> Any:
    query = lambda db: db.from_("bugs").select("*").execute()  # noqa: E731
    return supabase.call(query, idempotent=True)


SERVICES = {
    service.name: service
    for service in (
        Service(
            "openai",
            lambda: openai.chat(MESSAGES),
            openai.ping,
            "OPENAI_BASE_URL",
            {"OPENAI_API_KEY": "sk-test", "OPENAI_MODEL": "small"},
        ),
        Service(
            "stripe",
            lambda: stripe.create_payment(amount=1000, currency="eur", key="order-1"),
            stripe.ping,
            "STRIPE_API_BASE",
            {"STRIPE_API_KEY": "sk_test_1"},
        ),
        Service(
            "supabase",
            read_bugs,
            supabase.ping,
            "SUPABASE_URL",
            {"SUPABASE_SERVICE_KEY": "service"},
        ),
        Service(
            "coinbase",
            lambda: coinbase.get("/api/v3/brokerage/accounts"),
            coinbase.ping,
            "COINBASE_API_BASE",
            {
                "COINBASE_API_KEY_NAME": "organizations/o/apiKeys/k",
                "COINBASE_API_KEY": PEM,
            },
        ),
    )
}


def forget_clients() -> None:
    """Drop the clients of this process; the next call builds them anew."""
    for cached in (
        openai._client,
        stripe._client,
        supabase._client,
        coinbase._session,
        http._session,
    ):
        cached.cache_clear()
