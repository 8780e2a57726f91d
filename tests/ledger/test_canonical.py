import json

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from ledger.canonical import MAX_BYTES, MAX_INTEGER, decode, encode

texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-MAX_INTEGER, MAX_INTEGER)
    | texts
    | st.sampled_from(["\u20ac", "\U0001f600", "\ufb33", "\r", "\x7f", "\\", '"', "<"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4)
    ),
    max_leaves=12,
)


@given(values)
def test_the_restricted_form_is_rfc_8785(value):
    assert encode(value).encode() == rfc8785.dumps(value)


@given(values)
def test_what_is_spelled_is_read_back(value):
    assert decode(encode(value)) == value


@given(st.dictionaries(texts, values, max_size=5), st.randoms())
def test_the_order_of_keys_does_not_matter(value, random):
    items = list(value.items())
    random.shuffle(items)

    assert encode(dict(items)) == encode(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_becomes_a_string_that_reads_back_as_the_same_number(number):
    assert float(json.loads(encode({"n": number}))["n"]) == number


def test_keys_are_ordered_by_utf_16_code_units():
    keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\x80", "\u00f6"]

    spelled = encode(dict.fromkeys(keys, 0))

    assert list(json.loads(spelled)) == [
        "\r",
        "1",
        "\x80",
        "\u00f6",
        "\u20ac",
        "\U0001f600",
        "\ufb33",
    ]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (float("nan"), r"^details\.x: nan"),
        (float("-inf"), r"^details\.x: -inf"),
        (2**53, r"^details\.x: an integer beyond"),
        (-(2**53), r"^details\.x: an integer beyond"),
        ("\udc00", r"^details\.x: holds a lone surrogate"),
        ({"\ud800": 1}, r"^details\.x: holds a lone surrogate"),
        ({None: 1}, r"^details\.x: the key None is not a string"),
        (b"bytes", r"^details\.x: a bytes has no canonical form"),
        ([{"y": {1}}], r"^details\.x\[0\]\.y: a set has no canonical form"),
        ("x" * MAX_BYTES, r"^details: is longer than 65,535 bytes"),
        ("\u20ac" * 30_000, r"^details: is longer than 65,535 bytes"),
    ],
)
def test_what_has_no_spelling_is_refused_by_name(value, said):
    with pytest.raises(ValueError, match=said):
        encode({"x": value})


def test_endless_nesting_is_refused():
    value: list[object] = []
    value.append(value)

    with pytest.raises(ValueError, match="nested deeper than 32 levels"):
        encode(value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a":1,"b":{"c":1,"c":2}}', "c: is there twice"),
        ('{"a":1.5}', "1.5 is not an integer"),
        ('{"a":NaN}', "NaN is not an integer"),
    ],
)
def test_a_reading_is_as_strict_as_a_spelling(text, said):
    with pytest.raises(ValueError, match=said):
        decode(text)
