"""Read what a client needs from the settings."""

from django.conf import settings

from integrations.errors import NotConfiguredError


def need(setting: str) -> str:
    """Return a setting that a client cannot do without.

    Raises:
        NotConfiguredError: names the setting.
    """
    value = str(getattr(settings, setting, "") or "")
    if not value:
        raise NotConfiguredError(setting)
    return value


def may(setting: str, default: str = "") -> str:
    """Return a setting that has an answer without it."""
    return str(getattr(settings, setting, "") or default)
