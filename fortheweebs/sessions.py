"""Sessions in the database, looked up only by what a session key is made of."""

from django.contrib.sessions.backends.db import SessionStore as DatabaseStore


class SessionStore(DatabaseStore):
    r"""Take a cookie that holds anything else for none.

    A cookie may spell NUL as ``\000``, which PostgreSQL refuses: every page that looks
    at the session answered a stranger's with a 500.
    """

    def _validate_session_key(self, key: str) -> bool:
        return bool(key) and key.isascii() and key.isalnum() and len(key) >= 8
