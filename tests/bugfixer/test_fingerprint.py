"""Which reports belong together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bugfixer.fingerprint import fingerprint, mask

SAME = [
    ("user 17 not found", "user 4711 not found"),
    ("took 5.00 s", "took 12.3 s"),
    (
        "no row 0b5c7f9e-2f1f-4a57-9a36-0d2f8f1b2c3d",
        "no row 9c1d2e3f-0000-4000-8000-abcdefabcdef",
    ),
    ("at 0x7f3a2b", "at 0x10"),
    ("at 2026-11-24T03:12:09Z", "at 2025-01-02 10:00:00.5+01:00"),
    ("GET https://a.example/x/1 failed", "GET http://b.example/y failed"),
    ("chunk 3f2a91bc failed", "chunk 91bc3f2a failed"),
    ("mail [email] bounced", "mail [card] bounced"),
    ("too   many\nspaces", "too many spaces"),
]
DIFFERENT = [
    ("Cannot read 'total'", "Cannot read 'price'"),
    ("connection refused", "connection reset"),
    ("facade added", "decade added"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_what_varies_between_two_reports_of_one_bug_is_masked(one, other):
    assert mask(one) == mask(other)
    assert _of(one) == _of(other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_other_words_are_another_bug(one, other):
    assert _of(one) != _of(other)


def test_another_type_is_another_bug():
    assert _of("boom", "frontend") != _of("boom", "backend")


def test_a_fingerprint_names_its_version():
    assert _of("boom").startswith("v0:")
    assert len(_of("boom")) == 35


def test_a_fingerprint_never_changes():
    assert _of("user 17 not found") == "v0:" + PINNED


@given(st.text(max_size=300))
def test_any_text_has_a_fingerprint_of_one_shape(text):
    assert len(_of(text)) == 35


@given(st.integers(0, 10**18), st.integers(0, 10**18))
def test_two_numbers_are_one_bug(one, other):
    assert _of(f"row {one} is gone") == _of(f"row {other} is gone")


def _of(message: str, error_type: str = "frontend") -> str:
    return fingerprint(error_type=error_type, message=message)


PINNED = "f9b31b3512608dfae5a211f481fca61d"
