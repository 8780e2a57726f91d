"""Secrets and personal data go before anything is stored; kinds and counts stay."""

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bugfixer.scrub import AGENT, DEEPER, is_card, is_secret_name, scrub, scrub_text

TABLE = [
    # named values
    ("password=hunter2", "password=[secret]", {"secret": 1}),
    ('{"password": "two words"}', '{"password": "[secret]"}', {"secret": 1}),
    (r"{\"token\":\"abc\"}", r"{\"token\":\"[secret]\"}", {"secret": 1}),
    ("db_password: 's3cr3t'", "db_password: '[secret]'", {"secret": 1}),
    ("userToken=abc;x=1", "userToken=[secret];x=1", {"secret": 1}),
    ("x-api-key: abc", "x-api-key: [secret]", {"secret": 1}),
    ("AWS_SECRET_ACCESS_KEY=a/b+c", "AWS_SECRET_ACCESS_KEY=[secret]", {"secret": 1}),
    # headers and cookies: names stay
    ("Authorization: Basic dXNlcjpwYXNz", "Authorization: [secret]", {"secret": 1}),
    (
        "Cookie: a=1; sessionid=x",
        "Cookie: a=[cookie]; sessionid=[cookie]",
        {"cookie": 2},
    ),
    ("Set-Cookie: sid=abc", "Set-Cookie: sid=[cookie]", {"cookie": 1}),
    ("sent bearer abcdef123", "sent bearer [secret]", {"secret": 1}),
    # tokens known by their look
    ("jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc_d", "jwt [jwt]", {"jwt": 1}),
    ("key sk_live_abcdef123456", "key [key]", {"key": 1}),
    ("key sk-proj-abcdefghijklmnop", "key [key]", {"key": 1}),
    ("AKIAIOSFODNN7EXAMPLE", "[key]", {"key": 1}),
    ("ghp_0123456789abcdefghijABCDEFGHIJ012345", "[key]", {"key": 1}),
    ("xoxb-123456789012-abcdef", "[key]", {"key": 1}),
    ("AIzaSyA0123456789abcdefghijklmnopqrstuv", "[key]", {"key": 1}),
    ("whsec_abcdefgh1234", "[key]", {"key": 1}),
    ("id d41d8cd98f00b204e9800998ecf8427e", "id [token]", {"token": 1}),
    # cards
    ("card 4111 1111 1111 1111.", "card [card].", {"card": 1}),
    ("4111-1111-1111-1111", "[card]", {"card": 1}),
    ("5555555555554444 378282246310005", "[card] [card]", {"card": 2}),
    ("4111 1111 1111 1111 99", "[card] 99", {"card": 1}),
    # addresses of people and machines
    ("mail bob.o'neil+x@example.co.uk!", "mail [email]!", {"email": 1}),
    ("ü@bücher.de", "[email]", {"email": 1}),
    ("a%40example.com", "[email]", {"email": 1}),
    ("from 192.168.1.7:80", "from [ip]:80", {"ip": 1}),
    ("from 2001:db8::1 and fe80::1", "from [ip] and [ip]", {"ip": 2}),
    # URLs
    (
        "https://bob:pw@h.com/x?a=1&b=2#access_token=z",
        "https://[credentials]@h.com/x?a=[query]&b=[query]#access_token=[secret]",
        {"credentials": 1, "query": 2, "secret": 1},
    ),
    (
        "postgres://u:p/s@s@db:5432/x",
        "postgres://[credentials]@db:5432/x",
        {"credentials": 1},
    ),
    ("https://h/p?abcdef", "https://h/p?[query]", {"query": 1}),
    ("GET /x?user=bob ok", "GET /x?user=[query] ok", {"query": 1}),
    ("https://h/app.js?v=9:10:5", "https://h/app.js?v=[query]:10:5", {"query": 1}),
    (
        "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc=\n-----END RSA PRIVATE KEY-----",
        "[private_key]",
        {"private_key": 1},
    ),
]
UNTOUCHED = [
    "Cannot read properties of undefined (reading 'total')",
    "Unexpected token: '}' at 3",
    "Unexpected token < in JSON at position 0",
    "connect ECONNREFUSED 127.0.0.1:5432",
    "listening on ::1 and 0.0.0.0",
    "react@18.2.0",
    "render@http://localhost:3003/a.js:63:14",
    "std::fmt::write dead::beef Foo::Bar",
    "at 12:34:56 on 2026-11-24",
    "AbstractSingletonProxyFactoryBean2TestForTheWholeThing",
    "max_tokens: 512",
    "BUG-1764000000000-0123abcd",
    '  File "/app/shop/checkout.py", line 212, in pay',
    "timestamp 1764000000007",
    "a ? b : c && d = e",
]


@pytest.mark.parametrize(("text", "expected", "counts"), TABLE)
def test_a_secret_goes_and_its_kind_and_number_stay(text, expected, counts):
    done = scrub_text(text)

    assert done.value == expected
    assert done.counts == counts


@pytest.mark.parametrize("text", UNTOUCHED)
def test_what_is_no_secret_stays(text):
    done = scrub_text(text)

    assert done.value == text
    assert done.counts == {}


@pytest.mark.parametrize("text", [row[0] for row in TABLE] + UNTOUCHED)
def test_scrubbing_twice_is_scrubbing_once(text):
    once = scrub_text(text).value

    assert scrub_text(once).value == once


def test_a_json_value_is_scrubbed_in_names_texts_and_numbers():
    value = {
        "headers": {"Cookie": "a=b", "X-Api-Key": "zz", "User-Agent": "C/142.0.0.0"},
        "cookies": {"sid": "abc"},
        "card": [4111111111111111, 12],
        "bob@example.com": True,
        "password": {"old": "a", "new": "b"},
        "tokens": 5,
        "secret": None,
    }

    done = scrub(value)

    assert done.value == {
        "headers": {
            "Cookie": "a=[cookie]",
            "X-Api-Key": "[secret]",
            "User-Agent": "C/142.0.0.0",
        },
        "cookies": {"sid": "[cookie]"},
        "card": ["[card]", 12],
        "[email]": True,
        "password": "[secret]",
        "tokens": 5,
        "secret": None,
    }
    assert done.counts == {"cookie": 2, "secret": 2, "card": 1, "email": 1}


def test_a_user_agent_keeps_its_version_that_looks_like_an_address():
    assert scrub_text("Chrome/142.0.0.0", AGENT).value == "Chrome/142.0.0.0"


def test_nesting_ends_at_its_limit():
    value: object = "deep"
    for _ in range(100):
        value = {"a": value}

    text = json.dumps(scrub(value).value)

    assert DEEPER in text
    assert "deep" not in text.replace(DEEPER, "")


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("password", True), ("userPassword", True), ("PASSWD", True), ("api_key", True),
        ("apiKey", True), ("X-Auth-Token", True), ("sessionid", True), ("cvv", True),
        ("client_secret", True), ("private-key", True), ("cardNumber", True),
        ("tokens", False), ("author", False), ("key", False), ("passenger", False),
        ("monkey", False), ("component", False),
    ],
)  # fmt: skip
def test_a_name_tells_whether_it_holds_a_secret(name, secret):
    assert is_secret_name(name) is secret


def _luhn_digit(digits: str) -> str:
    return next(c for c in "0123456789" if is_card(digits + c) or c == "9")


LETTERS = string.ascii_letters + string.digits
keys = st.one_of(
    st.text(LETTERS, min_size=24, max_size=40).map("sk_live_".__add__),
    st.text(LETTERS, min_size=36, max_size=36).map("ghp_".__add__),
    st.text(string.ascii_uppercase + string.digits, min_size=16, max_size=16).map(
        "AKIA".__add__
    ),
    st.text(LETTERS, min_size=20, max_size=60).map("xoxb-".__add__),
)
jwts = st.tuples(*[st.text(LETTERS + "_-", min_size=12, max_size=60)] * 2).map(
    lambda parts: f"eyJhbGciOi{parts[0]}.eyJ{parts[1]}.sig"
)
emails = st.tuples(
    st.text(string.ascii_lowercase + "._+", min_size=6, max_size=12),
    st.text(string.ascii_lowercase, min_size=3, max_size=12),
).map(lambda parts: f"x{parts[0]}x@{parts[1]}.example")
cards = (
    st.tuples(st.sampled_from("3456"), st.text(string.digits, min_size=14, max_size=14))
    .map("".join)
    .map(lambda digits: next(digits + c for c in string.digits if _passes(digits + c)))
)
passwords = st.text(LETTERS + "!$%^*._-/+@#", min_size=12, max_size=30)
# Words around a secret: no quotes and no letters that would continue it.
around = st.text(string.ascii_letters + " \n.,:;()-\"'{}", max_size=40)


def _passes(digits: str) -> bool:
    total = 0
    for index, char in enumerate(reversed(digits)):
        doubled = int(char) * (2 if index % 2 else 1)
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0


@given(around, st.one_of(keys, jwts, emails), around)
def test_no_key_token_or_address_survives(before, secret, after):
    done = scrub_text(f"{before} {secret} {after}")

    assert secret not in done.value
    assert sum(done.counts.values()) >= 1


@given(around, cards, st.sampled_from(["", " ", "-"]), around)
def test_no_card_survives_however_it_is_grouped(before, card, gap, after):
    if len(set(card)) == 1:
        return
    written = gap.join(card[i : i + 4] for i in range(0, 16, 4))[: 15 + 4]

    done = scrub_text(f"{before} {written} {after}")

    assert written not in done.value


@given(
    st.sampled_from(["password", "api_key", "accessToken", "X-Auth-Token", "secret"]),
    st.sampled_from(["{}={}", "{}: {}", '"{}": "{}"', "'{}':'{}'", "?{}={}"]),
    passwords,
)
def test_no_named_secret_survives(name, form, value):
    done = scrub_text("before " + form.format(name, value) + "\nafter")

    assert value not in done.value
    assert done.value.startswith("before ")
    assert done.value.endswith("after")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=12), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(json_values)
def test_any_json_is_scrubbed_to_json_that_stays_as_it_is(value):
    once = scrub(value).value

    assert scrub(once).value == once
    json.dumps(once, allow_nan=False)


@given(
    st.lists(
        st.sampled_from(
            [row[0] for row in TABLE]
            + [
                "[secret]",
                "[card]",
                "=",
                ":",
                "@",
                "://",
                "?",
                "&",
                '"',
                "\\",
                " ",
                "a",
            ]
        ),
        max_size=6,
    ).map("".join)
)
def test_pieces_in_any_order_are_scrubbed_once_for_all(text):
    once = scrub_text(text).value

    assert scrub_text(once).value == once


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "unit",
    [
        "a", "a.", "eyJ", "@", "a@", "1 ", "1.1.", "://", "://a", "password=", "?a=", ":",
        "-----BEGIN PRIVATE KEY-----", "sk-", '\\"', "postgres://", "a:", "cookie:",
        "cookie=a;", "A1b2", "::1", "%40a.", "bearer ", 'x="',
    ],
)  # fmt: skip
def test_no_text_holds_the_scrubber_up(unit):
    """A pattern that tries again and again needs minutes here, a linear one 0.5 s."""
    text = unit * (128_000 // len(unit))

    once = scrub_text(text).value

    assert scrub_text(once).value == once
