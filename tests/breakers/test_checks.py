"""Options that make no sense are named before anything serves."""

import sysconfig

import pytest
from django.core import checks

from breakers.apps import _configure


def found() -> list[checks.CheckMessage]:
    messages = checks.run_checks(tags=["security"])
    return [one for one in messages if str(one.id).startswith("breakers.")]


def test_the_breakers_of_the_settings_are_well():
    assert found() == []


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("openai", {"timeout": -1}, "timeout"),
        ("openai", {"failure_threshold": 0}, "failure_threshold"),
        ("openai", {"colour": "red"}, "colour"),
        ("Open AI", {}, "name"),
    ],
)
def test_a_wrong_option_is_named_with_its_breaker(settings, name, options, said):
    settings.BREAKERS = {name: options}

    (message,) = found()

    assert message.id == "breakers.E001"
    assert message.msg.startswith(f"breaker {name}: {said}")


@pytest.mark.usefixtures("_alone")
def test_a_server_does_not_start_with_a_wrong_option_and_a_command_does(settings):
    settings.BREAKERS = {"openai": {"timeout": -1}}

    settings.ROLE = "command"
    _configure()
    settings.ROLE = "web"

    with pytest.raises(SystemExit, match="BREAKERS: timeout"):
        _configure()


def test_a_build_without_the_lock_is_refused(monkeypatch):
    monkeypatch.setitem(sysconfig.get_config_vars(), "Py_GIL_DISABLED", 1)

    assert [one.id for one in found()] == ["breakers.E002"]
