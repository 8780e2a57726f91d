"""Read a JSON body: capped, and without what no database stores."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from django.conf import settings
from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import JSONParser

REPORT_LIMIT = 256 * 1024  # without its screenshot
SCREENSHOT_LIMIT = 2 << 20  # as bytes, not as base64
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class TooLargeError(APIException):
    """More than we take; the sentence names the limit."""

    status_code = 413
    default_code = "too_large"


def too_large() -> str:
    """Say how large a body may be."""
    return f"The body is larger than {settings.DATA_UPLOAD_MAX_MEMORY_SIZE:,} bytes."


def clean_text(text: str) -> str:
    """Replace NUL and lone surrogates, which neither UTF-8 nor PostgreSQL can hold."""
    return _UNSTORABLE.sub("\ufffd", text)


def clean(value: Any) -> Any:
    """Return a JSON value that can be stored and sent back."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)  # 1e999 is JSON
    if isinstance(value, dict):
        return {clean_text(key): clean(held) for key, held in value.items()}
    if isinstance(value, list):
        return [clean(held) for held in value]
    return value


def _refuse_constant(name: str) -> NoReturn:
    message = f"{name} is not JSON"
    raise ValueError(message)


class CleanJSONParser(JSONParser):
    """JSON whose values can be stored; Django has capped the body before."""

    def parse(
        self,
        stream: Any,
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return the cleaned value; leave the size of the body on the view."""
        raw: bytes = stream.read()
        (parser_context or {})["view"].body_size = len(raw)
        try:
            return clean(json.loads(raw, parse_constant=_refuse_constant))
        except RecursionError:
            raise ParseError("The body is nested too deeply.") from None
        except ValueError as error:
            message = f"The body is not JSON: {clean_text(str(error))[:200]}"
            raise ParseError(message) from None
