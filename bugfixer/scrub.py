"""Take secrets and personal data out of what people send, before it is stored. Pure.

Values go, their kind and number stay: ``password=[secret]``, ``{"secret": 1}``. Every
pattern is linear in its input: possessive runs, or a start that cannot repeat inside
the run it reads.
"""

import ipaddress
import itertools
import math
import re
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, TypeAlias

Json: TypeAlias = Any
Match = re.Match[str]


class Kind(StrEnum):
    """What was taken out."""

    PRIVATE_KEY = "private_key"
    CREDENTIALS = "credentials"
    SECRET = "secret"  # noqa: S105 - the name of a kind
    COOKIE = "cookie"
    JWT = "jwt"
    KEY = "key"
    QUERY = "query"
    CARD = "card"
    EMAIL = "email"
    IP = "ip"
    TOKEN = "token"  # noqa: S105 - the name of a kind


@dataclass(frozen=True, slots=True)
class Policy:
    """Whether e-mail and IP addresses go too."""

    email: bool = True
    ip: bool = True


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """A value without secrets, and how many of each kind were in it."""

    value: Json
    counts: dict[str, int]


STRICT = Policy()
# "Chrome/142.0.0.0" is a version that looks like an address.
AGENT = Policy(ip=False)
MAX_DEPTH = 20
DEEPER = "[nested deeper]"

SECRET_WORDS = frozenset(
    {
        "accesskey",
        "accesstoken",
        "apikey",
        "auth",
        "authorization",
        "bearer",
        "clientsecret",
        "cookie",
        "cookies",
        "credential",
        "credentials",
        "csrf",
        "csrfmiddlewaretoken",
        "csrftoken",
        "cvc",
        "cvv",
        "cvv2",
        "dsn",
        "iban",
        "idtoken",
        "jsessionid",
        "jwt",
        "mfa",
        "otp",
        "passcode",
        "passphrase",
        "passwd",
        "password",
        "passwort",
        "phpsessid",
        "pin",
        "privatekey",
        "pwd",
        "refreshtoken",
        "secret",
        "secretkey",
        "session",
        "sessionid",
        "sid",
        "signature",
        "ssn",
        "token",
        "totp",
        "xsrf",
    }
)
SECRET_PAIRS = frozenset(
    {
        ("api", "key"),
        ("access", "key"),
        ("private", "key"),
        ("secret", "key"),
        ("signing", "key"),
        ("encryption", "key"),
        ("service", "key"),
        ("card", "number"),
        ("security", "code"),
        ("pass", "word"),
    }
)
SECRET_ENDS = ("password", "passwd", "secret", "token", "apikey", "cookie")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


@lru_cache(maxsize=4096)
def is_secret_name(name: str) -> bool:
    """Tell whether a key, header or cookie of this name holds a secret."""
    words = [word.lower() for word in _WORD.findall(name[:200])]
    return any(
        word in SECRET_WORDS or word.endswith(SECRET_ENDS) for word in words
    ) or any(pair in SECRET_PAIRS for pair in itertools.pairwise(words))


def mark(kind: Kind) -> str:
    """Return what stands where a value was."""
    return f"[{kind}]"


_MARK = re.compile(rf"\[(?:{'|'.join(Kind)})\]")
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----"
    r"[A-Za-z0-9+/=\s\\,:.\-]*?(?:-----END [A-Z ]{0,30}PRIVATE KEY-----|\Z)"
)
_DATABASE_URL = re.compile(
    r"(?i)(postgres|postgresql|mysql|mariadb|mssql|redis|rediss|mongodb|amqp|amqps|"
    r"ftp|sftp|smtp|smtps)((?:\+[a-z0-9]{1,20})?://)[^\s\"'<>]{1,500}@"
)
_USER_INFO = re.compile(r"(://)[^\s/?#\"'<>]{1,500}@")
_HEADER = re.compile(
    r"(?i)((?:proxy-)?authorization|(?:set-)?cookie2?)"
    r"(\\{0,3}[\"']?[ \t]{0,8}[:=][ \t]{0,8}\\{0,3}[\"']?)(?!\{)([^\r\n\"'\\]++)"
)
_HEADER_NAMES = ("authorization", "cookie", "cookie2")
_NAME = re.compile(r"(?<![\w.\-])([\w.\-]++)\\{0,3}[\"']?\s{0,8}[:=]\s{0,8}")
_VALUE = re.compile(
    r"(?:(\\{1,3}[\"'])([^\"'\r\n]*+)"
    r"|(\")((?:[^\"\\\r\n]|\\.)*+)|(')((?:[^'\\\r\n]|\\.)*+)"
    r"|()([^\s\"',;&)}\\]++))"
)
_BEARER = re.compile(r"(?i)(bearer\s{1,4})([A-Za-z0-9._~+/=\-]{6,}+)")
_DOTTED_RUN = re.compile(r"(?<![A-Za-z0-9_.\-])[A-Za-z0-9_.\-]{20,}+")
# What could be part of a word ("task-...") must begin one; the others are theirs alone.
_KEY = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"sk-[A-Za-z0-9_\-]{16,}+"
    r"|hf_[A-Za-z0-9]{20,}+"
    r"|SG\.[A-Za-z0-9_\-]{16,}+\.[A-Za-z0-9_\-]{16,}+"
    r"|sb(?:p|_secret|_publishable)_[A-Za-z0-9_\-]{16,}+"
    r"|gl(?:pat|ptt|dt|rt)-[A-Za-z0-9_\-]{16,}+"
    r"|npm_[A-Za-z0-9]{30,}+"
    r"|pypi-[A-Za-z0-9_\-]{16,}+"
    r"|xapp-[A-Za-z0-9\-]{8,}+"
    r")"
    r"|(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{6,}+"
    r"|whsec_[A-Za-z0-9+/=]{8,}+"
    r"|gh[pousr]_[A-Za-z0-9]{16,}+"
    r"|github_pat_[A-Za-z0-9_]{16,}+"
    r"|xox[abeoprs]-[A-Za-z0-9\-]{8,}+"
    r"|(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{12,}+"
    r"|AIza[A-Za-z0-9_\-]{30,}+"
    r"|ya29\.[A-Za-z0-9_\-]{16,}+"
    r"|dop_v1_[a-f0-9]{32,}+"
    r"|shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32,}+"
)
_QUERY = re.compile(r"(?<=[?&#])([\w.\-\[\]%~$@:+]{1,200}+=)([^&#\s\"'<>)]*+)")
_BARE_QUERY = re.compile(
    r"(://[^\s?#\"'<>]{1,2000}+\?)([^=&#\s\"'<>):]++)(?=[\s\"'<>)#]|$)"
)
_PLACE = re.compile(r"(?<=[^:])(?::[0-9]{1,6}){2}$")
_DIGITS = re.compile(r"(?<![0-9])[0-9](?:[ .\-\u00a0\u202f]?[0-9]){12,}+")
_DIGIT_GROUP = re.compile(r"[0-9]+")
_LOCAL = r"(?:[^\s@<>\"'(),:;\[\]/?&=|\\]|(?<=\w)'(?=\w))"
_DOMAIN = r"(?:@|%40)[\w\-]++(?:\.[\w\-]++)++"
# Several in a row are one: the second would begin inside the first.
_EMAIL = re.compile(
    r"(?<![^\s@<>\"'(),:;\[\]/?&=|\\])"
    f"{_LOCAL}++{_DOMAIN}(?:{_LOCAL}*+{_DOMAIN})*+"
)
_ESCAPED_AT = re.compile(r"(?<![\w.+\-])[\w.+\-]{1,320}%40[\w\-]++(?:\.[\w\-]++)++")
_IPV4 = re.compile(r"(?<![\w.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![\w]|\.[0-9])")
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f:]{2,45}+(?:\.[0-9.]{1,12})?(?![\w])")
_LONG_RUN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z0-9]{32,}+")


def luhn(digits: str) -> bool:
    """Tell whether the last digit checks the others, as on every payment card."""
    total = 0
    for index, char in enumerate(reversed(digits)):
        number = int(char) * (1 + index % 2)
        total += number - 9 if number > 9 else number
    return total % 10 == 0


def is_card(digits: str) -> bool:
    """Tell a card number; one that begins with 0 or 1 is a time or an id."""
    return (
        13 <= len(digits) <= 19
        and digits[0] in "23456"
        and len(set(digits)) > 1
        and luhn(digits)
    )


class _Text:
    """One text on its way through the rules, and what they found."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.counts: Counter[str] = Counter()

    def take(self, kind: Kind, old: str = "") -> str:
        """Count one find, unless a mark stood there already."""
        if not (old and _MARK.fullmatch(old)):
            self.counts[kind] += 1
        return mark(kind) if not _MARK.fullmatch(old) else old

    def private_key(self, found: Match) -> str:
        return self.take(Kind.PRIVATE_KEY)

    def database_url(self, found: Match) -> str:
        if found[0].endswith(f"://{mark(Kind.CREDENTIALS)}@"):
            return found[0]
        return f"{found[1]}{found[2]}{self.take(Kind.CREDENTIALS)}@"

    def user_info(self, found: Match) -> str:
        held = found[0][len("://") : -1]
        return f"{found[1]}{self.take(Kind.CREDENTIALS, held)}@"

    def headers(self, text: str) -> str:
        """Replace the values of login headers and cookies, where there are any."""
        lowered = text.lower()  # six times as fast as the pattern, which ignores case
        if "authorization" in lowered or "cookie" in lowered:
            return _HEADER.sub(self.header, text)
        return text

    def header(self, found: Match) -> str:
        if "cookie" not in found[1].lower():
            return f"{found[1]}{found[2]}{self.take(Kind.SECRET, found[3])}"
        return f"{found[1]}{found[2]}{self.cookies(found[3])}"

    def cookies(self, text: str) -> str:
        """Keep the names of cookies; what is no pair goes whole."""
        if "=" not in text:
            return self.take(Kind.COOKIE, text)
        parts = []
        for part in text.split(";"):
            name, equals, value = part.partition("=")
            if equals:
                parts.append(f"{name}={self.take(Kind.COOKIE, value)}")
            elif held := part.strip():
                start = part[: len(part) - len(part.lstrip())]
                parts.append(start + self.take(Kind.COOKIE, held))
        return ";".join(parts)

    def pairs(self, text: str) -> str:
        """Replace the value of each secret name; other names keep theirs to be read."""
        out, done = [], 0
        for name in _NAME.finditer(text):
            if name.start() < done or not is_secret_name(name[1]):
                continue
            value = _VALUE.match(text, name.end())
            if value is None or self._is_no_secret(text, name, value[0]):
                continue
            quote = value[1] or value[3] or value[5] or ""
            held = value[0][len(quote) :]
            bare = held.rstrip("\\")
            if bare:
                out += [text[done : name.end()], quote, self.take(Kind.SECRET, bare)]
                done = value.end() - (len(held) - len(bare))
        return "".join([*out, text[done:]])

    @staticmethod
    def _is_no_secret(text: str, name: Match, value: str) -> bool:
        if name[1].lower().endswith(_HEADER_NAMES) and _MARK.search(value):
            return True  # done as a header, where the names of cookies stay
        # "Unexpected token: '}'" is a parser speaking.
        before = text[max(name.start() - 11, 0) : name.start()]
        return before.lower() == "unexpected "

    def bearer(self, found: Match) -> str:
        return f"{found[1]}{self.take(Kind.SECRET)}"

    def jwt(self, found: Match) -> str:
        run = found[0]
        start = run.find("eyJ")
        if start < 0 or "." not in run[start + 8 :]:
            return run
        return run[:start] + self.take(Kind.JWT)

    def key(self, found: Match) -> str:
        return self.take(Kind.KEY)

    def query(self, found: Match) -> str:
        value, place = found[2], ""
        if not value:
            return found[0]
        ends = found.string[found.end() : found.end() + 1] in {"", "\n", ")"}
        tail = _PLACE.search(value) if ends and not is_secret_name(found[1]) else None
        if tail:  # app.js?v=3:10:5 names a line and a column
            value, place = value[: tail.start()], tail[0]
        return f"{found[1]}{self.take(Kind.QUERY, value)}{place}"

    def bare_query(self, found: Match) -> str:
        return f"{found[1]}{self.take(Kind.QUERY, found[2])}"

    def cards(self, found: Match) -> str:
        """Replace each window of whole digit groups that is a card number."""
        run = found[0]
        groups = [match.span() for match in _DIGIT_GROUP.finditer(run)]
        out, done, first = [], 0, 0
        while first < len(groups):
            end = self._card_end(run, groups, first)
            if end is None:
                first += 1
                continue
            out += [run[done : groups[first][0]], self.take(Kind.CARD)]
            done, first = groups[end][1], end + 1
        return "".join([*out, run[done:]])

    @staticmethod
    def _card_end(run: str, groups: list[tuple[int, int]], first: int) -> int | None:
        digits = ""
        best = None
        for last in range(first, min(first + 19, len(groups))):
            digits += run[groups[last][0] : groups[last][1]]
            if len(digits) > 19:
                break
            if is_card(digits):
                best = last
        return best

    def email(self, found: Match) -> str:
        labels = found[0].partition("@")[2].split(".")[1:]
        if not any(label[:1].isalpha() for label in labels):
            return found[0]  # react@18.2.0 is a version
        return self.take(Kind.EMAIL)

    def escaped_email(self, found: Match) -> str:
        return self.take(Kind.EMAIL)

    def ip(self, found: Match) -> str:
        text = found[0].rstrip(".")
        try:
            address = ipaddress.ip_address(
                text.rstrip(":") if "::" not in text else text
            )
        except ValueError:
            return found[0]
        if address.is_loopback or address.is_unspecified:
            return found[0]
        if address.version == 6 and not any(char.isdigit() for char in text):
            return found[0]  # dead::beef is a path in C++ or Rust
        return self.take(Kind.IP) + found[0][len(text) :]

    def long_run(self, found: Match) -> str:
        return self.take(Kind.TOKEN) if _looks_random(found[0]) else found[0]


def _looks_random(run: str) -> bool:
    """Tell a random token from a long name: kinds of characters change often."""
    if all(char in "0123456789abcdefABCDEF" for char in run):
        return not run.isalpha()
    kinds = [char.isdigit() + 2 * char.isupper() for char in run]
    switches = sum(a != b for a, b in itertools.pairwise(kinds))
    # Of random base 62, 0.62 of the neighbours differ; of camel case about 0.25.
    return switches >= 0.4 * len(run)


# (what must be in the text at all, pattern, name of the method); without a pattern the
# method reads the whole text.
_RULES: tuple[tuple[str, re.Pattern[str] | None, str], ...] = (
    ("-----BEGIN", _PRIVATE_KEY, "private_key"),
    ("@", _DATABASE_URL, "database_url"),
    ("@", _USER_INFO, "user_info"),
    ("", None, "headers"),
    ("", None, "pairs"),
    ("", _BEARER, "bearer"),
    ("eyJ", _DOTTED_RUN, "jwt"),
    ("", _KEY, "key"),
    ("=", _QUERY, "query"),
    ("?", _BARE_QUERY, "bare_query"),
    ("", _DIGITS, "cards"),
    ("@", _EMAIL, "email"),
    ("%40", _ESCAPED_AT, "escaped_email"),
    (".", _IPV4, "ip"),
    (":", _IPV6, "ip"),
    ("", _LONG_RUN, "long_run"),
)


def _allowed(rule: str, policy: Policy) -> bool:
    if rule in {"email", "escaped_email"}:
        return policy.email
    return policy.ip or rule != "ip"


def _scrub_text(text: str, state: _Text) -> str:
    for needs, pattern, rule in _RULES:
        if needs in text and _allowed(rule, state.policy):
            method = getattr(state, rule)
            text = pattern.sub(method, text) if pattern else method(text)
    return text


def scrub_text(text: str, policy: Policy = STRICT) -> Scrubbed:
    """Return the text without secrets, and what was in it."""
    state = _Text(policy)
    return Scrubbed(_scrub_text(text, state), dict(state.counts))


def _scrub_named(name: str, value: Json, state: _Text, depth: int) -> Json:
    if name.lower().replace("-", "").replace("_", "") in {"cookie", "cookies"}:
        if isinstance(value, dict):
            return {
                _scrub_text(str(key), state): state.take(Kind.COOKIE, str(held))
                for key, held in value.items()
            }
        if isinstance(value, str):
            return state.cookies(value) if value else value
    if is_secret_name(name) and value not in (None, "", [], {}):
        if isinstance(value, bool):
            return value
        return state.take(Kind.SECRET, value if isinstance(value, str) else "")
    if "agent" in name.lower() and isinstance(value, str):
        inner = _Text(Policy(email=state.policy.email, ip=False))
        value = _scrub_text(value, inner)
        state.counts.update(inner.counts)
        return value
    return _scrub(value, state, depth + 1)


def _scrub(value: Json, state: _Text, depth: int) -> Json:
    if isinstance(value, str):
        return _scrub_text(value, state)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float):
        return _scrub_number(value, state)
    if depth > MAX_DEPTH:
        return DEEPER
    if isinstance(value, dict):
        return {
            _scrub_text(str(name), state): _scrub_named(str(name), held, state, depth)
            for name, held in value.items()
        }
    return [_scrub(held, state, depth + 1) for held in value]


def _scrub_number(value: float, state: _Text) -> Json:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if abs(value) < 10**12:
        return value
    text = f"{value:.0f}" if isinstance(value, float) else str(value)
    digits = text.lstrip("-")
    return state.take(Kind.CARD) if is_card(digits) else value


def scrub(value: Json, policy: Policy = STRICT) -> Scrubbed:
    """Return a JSON value without secrets in its texts, names and numbers."""
    state = _Text(policy)
    return Scrubbed(_scrub(value, state, 0), dict(state.counts))
