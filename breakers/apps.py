"""The breakers app."""

from django.apps import AppConfig


class BreakersConfig(AppConfig):
    """Give the settings to the breakers and plug the listeners in."""

    name = "breakers"

    def ready(self) -> None:
        """Configure; no thread starts here."""
        from django.conf import settings

        from breakers import registry

        registry.configure(settings.BREAKERS, redis_url=settings.REDIS_URL)
