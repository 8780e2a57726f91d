"""The errors of the real SDKs as a plain breaker sees them, and what is imported."""

import os

import httpcore2
import httpx
import httpx2
import openai as openai_sdk
import pytest
import stripe as stripe_sdk

from breakers import BulkheadFullError, CircuitBreaker, CircuitState, get_breaker
from breakers.throttling import read_retry_after, read_status
from integrations import openai, stripe, supabase
from integrations.retries import protected_call
from integrations.sessions import make_session
from tests.integrations.services import MESSAGES
from tests.nursery import nursery

SDKS = (
    "openai",
    "stripe",
    "postgrest",
    "httpx",
    "httpx2",
    "stamina",
    "jwt",
)
PRINT_SDKS = (
    "import sys, django; django.setup(); import fortheweebs.urls, fortheweebs.wsgi;"
    "from integrations import coinbase, http, openai, stripe, supabase;"
    f"print([name for name in {SDKS!r} if name in sys.modules])"
)
RAW = {
    "openai": lambda: openai.client().chat.completions.create(
        model="small", messages=MESSAGES
    ),
    "stripe": lambda: stripe.client().v1.balance.retrieve({}),
    "supabase": lambda: supabase.client().from_("bugs").select("*").execute(),
}


ERRORS = (openai_sdk.APIStatusError, stripe_sdk.StripeError, httpx.HTTPStatusError)


@pytest.mark.parametrize("name", sorted(RAW))
@pytest.mark.parametrize(
    ("answer", "seconds"), [("429:7", 7), ("429", 5), ("503:7", 7)]
)
def test_a_plain_breaker_reads_throttling_from_the_sdks_own_error(
    start, name, answer, seconds
):
    start(name, answer)
    breaker = CircuitBreaker(f"raw-{name}")

    with pytest.raises(ERRORS) as raised:
        breaker.execute(RAW[name])

    assert read_retry_after(raised.value) == seconds
    assert breaker.counts()["throttled"] == 1
    assert breaker.state is CircuitState.OPEN


@pytest.mark.parametrize("name", sorted(RAW))
def test_the_sdks_do_not_repeat_on_their_own(start, name):
    fake = start(name, "500", "ok")

    with pytest.raises(ERRORS) as raised:
        RAW[name]()

    assert read_status(raised.value) == 500
    assert len(fake.requests) == 1


def test_an_answer_that_has_no_status_is_no_throttling(start):
    start("openai", "drop")

    with pytest.raises(openai_sdk.APIConnectionError) as raised:
        RAW["openai"]()

    assert read_retry_after(raised.value) is None


def test_no_sdk_is_imported_before_its_first_call():
    environ = {**os.environ, "DJANGO_SETTINGS_MODULE": "fortheweebs.settings"}

    done = nursery().run(["-c", PRINT_SDKS], environ)

    assert done.stdout.splitlines()[-1:] == ["[]"], done.stderr


def test_keys_come_from_files(tmp_path):
    names = (
        "OPENAI_API_KEY",
        "STRIPE_API_KEY",
        "COINBASE_API_KEY",
        "SUPABASE_SERVICE_KEY",
    )
    environ = dict(os.environ)
    for name in names:
        (tmp_path / name).write_text(f"secret of {name}\n")
        environ[f"{name}_FILE"] = str(tmp_path / name)
    told = f"from fortheweebs import settings as s; print([getattr(s, n) for n in {names!r}])"

    done = nursery().run(["-c", told], environ)

    assert done.stdout.strip() == str([f"secret of {name}" for name in names])


def test_a_pool_without_a_free_connection_says_nothing_about_the_service(anywhere):
    one = make_session(httpx2, httpcore2, limits=httpx2.Limits(max_connections=1))
    breaker = get_breaker("narrow", timeout=0.3)

    with one.stream("GET", anywhere.url), pytest.raises(BulkheadFullError):
        protected_call(breaker, lambda: one.get(anywhere.url), idempotent=True)

    counts = breaker.counts()
    assert (counts["ignored"], counts["failure"], counts["timeout"]) == (1, 0, 0)
