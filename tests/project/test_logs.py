"""A line of the log: one JSON object with what was put into it, and no more."""

import json
import logging
import logging.config

import pytest
from structlog.stdlib import ProcessorFormatter

from fortheweebs.logs import logging_config


@pytest.fixture
def render():
    config = logging_config(debug=False, stream="stderr")["formatters"]["json"]
    formatter = ProcessorFormatter(
        processors=config["processors"], foreign_pre_chain=config["foreign_pre_chain"]
    )

    def line(message, **extra):
        record = logging.getLogger("health.duty").makeRecord(
            "health.duty", logging.WARNING, "f.py", 1, message, (), None, extra=extra
        )
        return json.loads(formatter.format(record))

    return line


def test_a_plain_record_keeps_what_our_code_adds(render):
    told = render("process_died", who="web-1/4711", pid=4711)

    assert (told["event"], told["who"], told["pid"]) == (
        "process_died",
        "web-1/4711",
        4711,
    )


def test_what_others_add_stays_out(render):
    told = render("Bad Request: /x", request=object(), status_code=400)

    assert set(told) == {"event", "logger", "level", "timestamp"}
