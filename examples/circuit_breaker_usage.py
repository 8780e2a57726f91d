"""Four calls that a broken service cannot take down with it.

``python examples/circuit_breaker_usage.py`` runs them: against the real service where its
key is set (of Stripe: a test key), otherwise against a loopback counterpart that fails
on purpose.
"""

import os
import sys
from contextlib import ExitStack
from pathlib import Path

import django

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fortheweebs.settings")
os.environ.setdefault("SECRET_KEY", "only-for-this-example")

from breakers import BreakerError, CallRefusedError, CircuitOpenError, get_breaker
from integrations import openai, stripe, supabase
from integrations.errors import IntegrationError, ServiceFailedError
from integrations.fakes import fake_service
from integrations.http import guarded_request


def openai_protection() -> str:
    """Ask a model; answer with a sentence of our own while it is away."""
    try:
        answer = openai.chat([{"role": "user", "content": "Say hello."}])
    except (BreakerError, IntegrationError) as error:
        return f"The assistant is away ({error})."
    return answer.choices[0].message.content or ""


def supabase_protection() -> str:
    """Read rows; show the last ones known while the database is away."""
    last_known = [{"id": 0, "title": "from yesterday"}]
    try:
        found = supabase.call(
            lambda db: db.from_("bugs").select("id,title").limit(5).execute(),
            idempotent=True,
        )
    except (BreakerError, IntegrationError):
        return f"last known: {last_known}"
    return f"fresh: {found.data}"


def stripe_protection() -> str:
    """Take a payment once, however often it has to be tried."""
    try:
        intent = stripe.create_payment(amount=1000, currency="eur", key="order-12")
    except CallRefusedError as refusal:
        # Nothing was sent: the order may wait for its turn.
        return f"Payments resume in {refusal.retry_after or 0:.0f} s."
    return f"{intent.id}: {intent.status}"


def external_api_with_retries(url: str) -> str:
    """Ask any address under a name; it is tried three times if it only reads."""
    answer = guarded_request("example-shop", "GET", f"{url}/items")
    breaker = get_breaker("example-shop")
    failures = breaker.counts()["failure"]
    return f"{answer.status_code} after {failures} failures, {breaker.state}"


def refused(url: str) -> str:
    """Fail until the circuit opens; then nobody waits any more."""
    for _ in range(5):
        try:
            guarded_request("example-ailing", "POST", url)
        except ServiceFailedError:
            continue
    try:
        guarded_request("example-ailing", "POST", url)
    except CircuitOpenError as refusal:
        return f"nothing was sent; ask again in {refusal.retry_after:.0f} s"
    finally:
        get_breaker("example-ailing").reset("end of the example")
    return "still closed"


# The setting that points at another server, and what the counterpart does first.
FAKES = {
    "openai": ("OPENAI_BASE_URL", ("500", "ok")),
    "stripe": ("STRIPE_API_BASE", ("500", "cut", "ok")),
    "supabase": ("SUPABASE_URL", ("drop", "ok")),
}
KEYS = {
    "openai": {"OPENAI_API_KEY": "sk-fake", "OPENAI_MODEL": "small"},
    "stripe": {"STRIPE_API_KEY": "sk_test_fake"},
    "supabase": {"SUPABASE_SERVICE_KEY": "fake"},
}


def has_key(name: str) -> bool:
    """Tell whether the real service may be asked; of Stripe, only in test mode."""
    if name == "stripe":
        return os.environ.get("STRIPE_API_KEY", "").startswith("sk_test_")
    return any(os.environ.get(key) or f"{key}_FILE" in os.environ for key in KEYS[name])


def start_fakes(stack: ExitStack) -> None:
    """Start a counterpart of each service that has no key."""
    for name, (setting, script) in FAKES.items():
        if not has_key(name):
            fake = stack.enter_context(fake_service(name, *script))
            os.environ.update({setting: fake.url, **KEYS[name]})
            os.environ.pop("STRIPE_API_KEY_FILE", None)


def main() -> None:
    """Run the examples and say what each returned."""
    with ExitStack() as stack:
        start_fakes(stack)
        django.setup()
        flaky = stack.enter_context(fake_service("any", "500", "503", "ok"))
        broken = stack.enter_context(fake_service("any", *["500"] * 9))
        print("OpenAI:      ", openai_protection())
        print("Supabase:    ", supabase_protection())
        print("Stripe:      ", stripe_protection())
        print("External API:", external_api_with_retries(flaky.url))
        print("Broken API:  ", refused(broken.url))


if __name__ == "__main__":
    main()
