"""Say which reports belong together: type and message without what varies. Pure."""

import hashlib
import re

VERSION = "v0"
MAX_MESSAGE = 2000
# What varies between two reports of one bug, most telling first.
_MASKS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\[(?:[a-z_]{2,20})\]"), "<hidden>"),
    (re.compile(r"\b[a-z][a-z0-9+.\-]{1,20}://[^\s\"'<>]++", re.IGNORECASE), "<url>"),
    (
        re.compile(
            r"(?<![0-9A-Fa-f])[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}"
            r"(?![0-9A-Fa-f])"
        ),
        "<id>",
    ),
    (
        re.compile(
            r"(?<![0-9])[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9]{2}:[0-9]{2}[0-9:.,]*+"
            r"(?:Z|[+\-][0-9]{2}:?[0-9]{2})?)?"
        ),
        "<time>",
    ),
    (re.compile(r"\b0x[0-9A-Fa-f]++"), "<address>"),
    # Hex with digits and letters: an id or the hash in a file's name, not a word.
    (
        re.compile(r"(?<!\w)(?=[a-f]*[0-9])(?=[0-9]*[a-f])[0-9a-f]{7,64}(?!\w)"),
        "<id>",
    ),
    (re.compile(r"[0-9]++(?:[.,:][0-9]++)*+"), "<n>"),
)
_SPACE = re.compile(r"\s+")


def mask(message: str) -> str:
    """Return the message with numbers, ids, times, addresses and URLs masked."""
    text = message[:MAX_MESSAGE]
    for pattern, word in _MASKS:
        text = pattern.sub(word, text)
    return _SPACE.sub(" ", text).strip()


def fingerprint(*, error_type: str, message: str) -> str:
    """Return ``v0:<hex>``, equal for reports of one type and one masked message."""
    text = f"{error_type.strip().lower()}\n{mask(message)}"
    return f"{VERSION}:{hashlib.sha256(text.encode()).hexdigest()[:32]}"
