"""The ledger app."""

from django.apps import AppConfig


class LedgerConfig(AppConfig):
    """Set the app up."""

    name = "ledger"
