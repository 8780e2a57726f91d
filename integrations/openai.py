"""OpenAI, or any compatible server, under the breaker ``openai``."""

import os
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, TypeVar

from breakers import CircuitBreaker, get_breaker
from integrations.errors import UnreadableAnswerError
from integrations.keys import may, need
from integrations.retries import protected_call
from integrations.sessions import make_session
from integrations.verdicts import is_failure

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types.chat import ChatCompletion, ChatCompletionMessageParam
    from openai.types.responses import Response

Result = TypeVar("Result")
NAME = "openai"
# A model thinks; two seconds are for services that look something up.
TIMEOUT = 30.0


def breaker() -> CircuitBreaker:
    """Return the breaker of every call to OpenAI."""
    return get_breaker(NAME, timeout=TIMEOUT, is_failure=is_failure)


def client() -> "OpenAI":
    """Return the SDK's client of this process: own retries off, deadline kept.

    Raises:
        NotConfiguredError: OPENAI_API_KEY is not set.
    """
    return _client(need("OPENAI_API_KEY"), may("OPENAI_BASE_URL"), os.getpid())


@lru_cache(maxsize=1)
def _client(key: str, base: str, pid: int) -> "OpenAI":
    import httpcore2
    import httpx2
    import openai

    return openai.OpenAI(
        api_key=key,
        base_url=base or None,
        max_retries=0,
        http_client=make_session(httpx2, httpcore2),
    )


def call(fn: "Callable[[OpenAI], Result]", *, idempotent: bool = False) -> Result:
    """Call ``fn(client)`` under the breaker; what may be repeated is, up to twice.

    Raises:
        NotConfiguredError: OPENAI_API_KEY is not set.
        CallRefusedError, CallTimeoutError, ServiceError: as in ``protected_call``.
    """
    sdk = client()
    return protected_call(breaker(), partial(fn, sdk), idempotent=idempotent)


def chat(
    messages: "Iterable[ChatCompletionMessageParam]", **options: Any
) -> "ChatCompletion":
    """Ask OPENAI_MODEL, or the ``model`` given, to go on with a conversation.

    A repetition is safe: what failed at once was not charged, and what ran out of time
    leaves none for another try.
    """
    asked = {"model": options.pop("model", None) or need("OPENAI_MODEL"), **options}

    def ask(sdk: "OpenAI") -> "ChatCompletion":
        answer = sdk.chat.completions.create(messages=messages, **asked)
        _check(_says_something(answer))
        return answer  # type: ignore[no-any-return]

    return call(ask, idempotent=True)


def respond(text: Any, **options: Any) -> "Response":
    """Ask OPENAI_MODEL, or the ``model`` given, through the Responses API."""
    asked = {"model": options.pop("model", None) or need("OPENAI_MODEL"), **options}

    def ask(sdk: "OpenAI") -> "Response":
        answer = sdk.responses.create(input=text, **asked)
        _check(isinstance(getattr(answer, "output", None), list))
        return answer  # type: ignore[no-any-return]

    return call(ask, idempotent=True)


def ping() -> None:
    """Ask for the model's entry; that costs no token.

    Raises:
        NotConfiguredError, CallRefusedError, CallTimeoutError, ServiceError: see above.
    """
    model = need("OPENAI_MODEL")

    def look(sdk: "OpenAI") -> None:
        _check(getattr(sdk.models.retrieve(model), "id", None) is not None)

    call(look, idempotent=True)


def _says_something(answer: Any) -> bool:
    choices: Any = getattr(answer, "choices", None)
    return bool(choices) and getattr(choices[0], "message", None) is not None


def _check(sensible: bool) -> None:  # noqa: FBT001
    # The SDK returns the text of an answer that is no JSON, and fills no gaps.
    if not sensible:
        raise UnreadableAnswerError(NAME, "answered something else", 200)
