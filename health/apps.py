"""The health app."""

from django.apps import AppConfig


class HealthConfig(AppConfig):
    """Set the app up."""

    name = "health"
