"""The bugfixer app."""

from django.apps import AppConfig


class BugfixerConfig(AppConfig):
    """Set the app up."""

    name = "bugfixer"
