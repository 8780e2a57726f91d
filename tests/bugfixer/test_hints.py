"""The offline analysis: the top frame, the kind of fault, how sure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bugfixer.hints import LABEL, MAX_CONFIDENCE, Category, analyse, input_hash
from tests.bugfixer.builders import PYTHON_STACK

FAULTS = [
    ("TimeoutError: couldn't get a connection after 5.00 s", Category.TIMEOUT),
    ("TypeError: Failed to fetch", Category.NETWORK),
    ("connect ECONNREFUSED 127.0.0.1:5432", Category.NETWORK),
    ("IntegrityError: duplicate key value violates unique", Category.DATABASE),
    ("429 Too Many Requests", Category.RATE_LIMIT),
    ("401 Unauthorized: token expired", Category.AUTH),
    ("PermissionError: [Errno 13] Permission denied: '/x'", Category.PERMISSION),
    ("JavaScript heap out of memory", Category.MEMORY),
    ("Cannot read properties of undefined (reading 'a')", Category.NULL_REFERENCE),
    ("'NoneType' object has no attribute 'x'", Category.NULL_REFERENCE),
    ("x.map is not a function", Category.TYPE),
    ("ModuleNotFoundError: No module named 'x'", Category.IMPORT),
    ("ChunkLoadError: Loading chunk 7 failed", Category.IMPORT),
    ("SyntaxError: Unexpected token '<', not valid JSON", Category.SYNTAX),
    ("KeyError: 'payment_intent'", Category.NOT_FOUND),
    ("ValueError: invalid literal for int()", Category.VALIDATION),
    ("deadlock detected", Category.CONCURRENCY),
    ("Maximum call stack size exceeded", Category.RECURSION),
    ("OSError: [Errno 28] No space left on device", Category.RESOURCE),
    ("It is purple", Category.UNKNOWN),
]


@pytest.mark.parametrize(("message", "category"), FAULTS)
def test_the_words_tell_the_kind_of_fault(message, category):
    assert analyse(message=message, stack="").category == category


def test_the_top_own_frame_is_named():
    hint = analyse(message="couldn't get a connection", stack=PYTHON_STACK)

    assert hint.frame is not None
    assert hint.frame.where == "pay /app/shop/checkout.py:212"
    assert "pay /app/shop/checkout.py:212" in hint.text
    assert hint.category == Category.TIMEOUT


def test_it_says_that_no_model_was_asked():
    assert analyse(message="boom", stack="").text.startswith(LABEL)


def test_more_evidence_is_more_confidence_up_to_the_limit():
    nothing = analyse(message="It is purple", stack="").confidence
    words = analyse(message="timed out", stack="").confidence
    both = analyse(message="timed out", stack=PYTHON_STACK).confidence

    assert nothing < words < both <= MAX_CONFIDENCE == 0.6


def test_the_result_has_the_shape_that_every_analysis_has():
    result = analyse(message="timed out", stack=PYTHON_STACK).result("high")

    assert set(result) == {
        "root_cause", "evidence", "suggested_fix", "patch", "prevention", "category",
        "severity", "confidence", "unknowns", "depth", "frame",
    }  # fmt: skip
    assert result["patch"] is None
    assert result["evidence"] == [1]
    assert result["severity"] == "high"


def test_the_same_text_has_the_same_input_hash():
    one = input_hash(message="a", stack="b")

    assert one == input_hash(message="a", stack="b")
    assert one != input_hash(message="ab", stack="")


@given(st.text(max_size=500), st.text(max_size=2000))
def test_any_text_is_analysed_without_claiming_too_much(message, stack):
    hint = analyse(message=message, stack=stack)

    assert 0 < hint.confidence <= MAX_CONFIDENCE
    assert hint.frame_index is None or 0 <= hint.frame_index < hint.frames
