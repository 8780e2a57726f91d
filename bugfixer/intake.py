"""Turn what was sent into what is stored: scrubbed, named, grouped. Pure."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from bugfixer.fingerprint import fingerprint
from bugfixer.frames import read_frames
from bugfixer.scrub import AGENT, STRICT, Policy, scrub

TITLE_LENGTH = 300
SEARCH_LENGTH = 2000
SEARCH_FRAMES = 20


@dataclass(frozen=True, slots=True)
class Picture:
    """A screenshot, its type told by its own first bytes."""

    content_type: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A report as it came in, checked but not scrubbed."""

    error_message: str
    page_url: str
    severity: str
    error_stack: str = ""
    error_type: str = "frontend"
    user_id: str = ""
    user_email: str = ""
    user_agent: str = ""
    system: str = ""
    component: str = ""
    release: str = ""
    environment: str = ""
    client_event_id: str | None = None
    browser_info: dict[str, Any] = field(default_factory=dict)
    additional_data: dict[str, Any] = field(default_factory=dict)
    screenshot: Picture | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A report as it will be stored."""

    fingerprint: str
    title: str
    search: str
    columns: dict[str, str]
    content: dict[str, Any]
    severity: str
    error_type: str
    system: str
    component: str
    client_event_id: str | None
    screenshot: Picture | None


class _Scrubber:
    """Scrub one field after the other and add up what was found."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def __call__(self, value: Any, policy: Policy = STRICT) -> Any:
        done = scrub(value, policy)
        self.counts.update(done.counts)
        return done.value


def _title(message: str) -> str:
    line = (
        message.strip().splitlines()[0].strip() if message.strip() else "(no message)"
    )
    return line if len(line) <= TITLE_LENGTH else line[: TITLE_LENGTH - 1] + "…"


def _search(message: str, stack: str) -> str:
    frames = [frame.where for frame in read_frames(stack)[:SEARCH_FRAMES]]
    return "\n".join([message[: SEARCH_LENGTH // 2], *frames])[:SEARCH_LENGTH]


def _is_email(text: str) -> bool:
    """Tell an address from a sentence: the field is kept only for the first."""
    local, at, domain = text.partition("@")
    return bool(local and at and domain) and not any(c.isspace() for c in text)


def _columns(sent: Submission, scrubbed: _Scrubber) -> dict[str, str]:
    email = sent.user_email.strip()
    return {
        "page_url": scrubbed(sent.page_url),
        "user_id": scrubbed(sent.user_id)[:200],
        # Kept on purpose: who may see it is a permission, and it can be deleted.
        "user_email": email if _is_email(email) else scrubbed(email)[:320],
        "user_agent": scrubbed(sent.user_agent, AGENT)[:1000],
        "release": scrubbed(sent.release, AGENT)[:200],
        "environment": scrubbed(sent.environment)[:200],
    }


def prepare(sent: Submission) -> Prepared:
    """Scrub a submission, name it and say what it belongs to."""
    scrubbed = _Scrubber()
    message = scrubbed(sent.error_message)
    stack = scrubbed(sent.error_stack)
    error_type = scrubbed(sent.error_type)[:64]
    columns = _columns(sent, scrubbed)
    content = {
        "error_message": message,
        "error_stack": stack,
        "error_type": error_type,
        "severity": sent.severity,
        "browser_info": scrubbed(sent.browser_info),
        "additional_data": scrubbed(sent.additional_data),
        "system": scrubbed(sent.system)[:100],
        "component": scrubbed(sent.component)[:100],
    }
    return Prepared(
        fingerprint=fingerprint(error_type=error_type, message=message),
        title=_title(message),
        search=_search(message, stack),
        columns=columns,
        content={**content, "scrubbed": dict(scrubbed.counts)},
        severity=sent.severity,
        error_type=error_type,
        system=content["system"],
        component=content["component"],
        client_event_id=sent.client_event_id,
        screenshot=sent.screenshot,
    )
