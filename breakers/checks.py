"""System checks of the breakers."""

import sysconfig
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register

from breakers.errors import OptionError
from breakers.options import check_name, make_options


@register(Tags.security)
def check_options(**kwargs: Any) -> list[CheckMessage]:
    """Refuse options that make no sense, by breaker and option."""
    found: list[CheckMessage] = []
    for name, options in settings.BREAKERS.items():
        if say := _refusal(name, options):
            hint = f"Change BREAKERS[{name!r}] in the settings."
            found.append(Error(f"breaker {name}: {say}", hint=hint, id="breakers.E001"))
    return found


def _refusal(name: str, options: Mapping[str, Any]) -> str:
    try:
        check_name(name)
        make_options(options)
    except OptionError as error:
        return str(error)
    return ""


@register(Tags.security)
def check_build(**kwargs: Any) -> list[CheckMessage]:
    """Refuse a build without the global interpreter lock: the counters rely on it."""
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        return []
    say = "This Python is built free-threaded; breakers count exactly only with a GIL."
    return [Error(say, hint="Use a standard build.", id="breakers.E002")]
