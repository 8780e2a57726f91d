"""A guarded request to any address."""

import time

import pytest

from breakers import CallTimeoutError, CircuitOpenError, deadline, get_breaker
from breakers.registry import find_breaker
from integrations import http
from integrations.errors import (
    MisuseError,
    ServiceFailedError,
    ServiceRefusedError,
    UnreadableAnswerError,
)
from integrations.fakes import fake_service
from integrations.http import guarded_request, make_breaker


def test_an_answer_is_returned_whole(anywhere):
    answer = guarded_request("shop", "POST", f"{anywhere.url}/orders", json={"id": 1})

    assert answer.status_code == 200
    assert answer.json() == {"method": "POST", "path": "/orders"}
    assert anywhere.requests[0].body == b'{"id":1}'


def test_a_safe_request_is_tried_three_times(anywhere):
    anywhere.will("500", "drop", "ok")

    answer = guarded_request("shop", "GET", anywhere.url)

    assert answer.status_code == 200
    assert [seen.method for seen in anywhere.requests] == ["GET"] * 3


def test_a_write_is_sent_once(anywhere):
    anywhere.will("500", "ok")

    with pytest.raises(ServiceFailedError):
        guarded_request("shop", "POST", anywhere.url)

    assert len(anywhere.requests) == 1


def test_a_write_with_a_key_is_repeated_with_the_same_one(anywhere):
    anywhere.will("500", "cut", "ok")

    guarded_request("shop", "POST", anywhere.url, headers={"Idempotency-Key": "o-1"})

    keys = [seen.headers["idempotency-key"] for seen in anywhere.requests]
    assert keys == ["o-1"] * 3


def test_the_first_session_is_built_on_nobodys_time(anywhere):
    make_breaker("shop", timeout=0.1)
    http._session.cache_clear()

    assert guarded_request("shop", "GET", anywhere.url).status_code == 200


def test_a_redirect_is_not_followed(anywhere):
    anywhere.will("302")

    answer = guarded_request("shop", "GET", anywhere.url)

    assert answer.status_code == 302
    assert len(anywhere.requests) == 1


def test_a_404_is_the_callers_mistake(anywhere):
    anywhere.will("404")

    with pytest.raises(ServiceRefusedError) as refused:
        guarded_request("shop", "GET", anywhere.url)

    assert refused.value.status == 404
    assert get_breaker("shop").counts()["failure"] == 0


def test_an_answer_above_the_cap_is_cut_off_there(anywhere):
    with pytest.raises(UnreadableAnswerError, match="more than 10 bytes"):
        guarded_request("shop", "POST", anywhere.url, most_bytes=10)

    assert get_breaker("shop").counts()["failure"] == 1


def test_no_repetition_begins_that_the_deadline_would_cut_off(anywhere):
    http.session()
    make_breaker("shop", timeout=20.0)
    anywhere.will("500", "500", "ok")

    with deadline(2.0), pytest.raises(ServiceFailedError):
        guarded_request("shop", "GET", anywhere.url)

    assert len(anywhere.requests) == 1


def test_a_trickling_answer_ends_with_the_deadline(anywhere):
    http.session()
    anywhere.will("trickle:5")
    started = time.monotonic()

    with deadline(0.3), pytest.raises(CallTimeoutError):
        guarded_request("shop", "GET", anywhere.url)

    assert time.monotonic() - started < 4


def test_what_is_no_address_counts_for_nobody():
    with pytest.raises(MisuseError, match="ftp://shop"):
        guarded_request("shop", "GET", "ftp://shop/items")

    assert find_breaker("shop") is None


def test_a_breaker_made_before_keeps_its_options(anywhere, caplog):
    breaker = make_breaker("shop", timeout=0.2)
    anywhere.will("404", "slow:5")

    with pytest.raises(ServiceRefusedError):
        guarded_request("shop", "GET", anywhere.url)
    with pytest.raises(CallTimeoutError):
        guarded_request("shop", "GET", anywhere.url)

    assert (breaker.counts()["ignored"], breaker.counts()["timeout"]) == (1, 1)
    assert "ignored:" not in caplog.text


def test_each_name_has_a_circuit_of_its_own(anywhere):
    with fake_service("any", *["500"] * 9) as sick:
        for _ in range(3):
            with pytest.raises((ServiceFailedError, CircuitOpenError)):
                guarded_request("sick", "GET", sick.url)

    with pytest.raises(CircuitOpenError):
        guarded_request("sick", "GET", anywhere.url)
    assert guarded_request("well", "GET", anywhere.url).status_code == 200
