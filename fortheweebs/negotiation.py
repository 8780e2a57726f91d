"""Which form an answer has."""

from typing import Any

from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.request import Request


class Negotiation(DefaultContentNegotiation):
    """Answer a documented route in its one form, as the original API did.

    A scraper or an old browser that sends some Accept never gets a 406 there.
    """

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> Any:
        """Return the first renderer for a documented route, else what Accept asks."""
        context: Any = request.parser_context
        if getattr(context["view"], "documented", False):
            return renderers[0], renderers[0].media_type
        return super().select_renderer(request, renderers, format_suffix)
