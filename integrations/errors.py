"""What a protected client may raise beside the errors of its breaker. Pure.

::

    IntegrationError
    |-- NotConfiguredError      a setting is missing
    |-- MisuseError             the call is wrong and was not sent; also a ValueError
    |-- SignatureError          a webhook is forged, edited or too old
    `-- ServiceError            what the service said; the client's error is its cause
        |-- ServiceFailedError      no connection, a cut one, 5xx
        |-- ServiceThrottledError   429, or 503 with Retry-After
        |-- ServiceRefusedError     4xx: the request is wrong, the service is well
        `-- UnreadableAnswerError   200 with a body that makes no sense, or too large

A refused call is ``breakers.CallRefusedError``, a late one ``breakers.CallTimeoutError``.
"""


class IntegrationError(Exception):
    """Anything a protected client says for itself."""


class NotConfiguredError(IntegrationError):
    """A client is asked for whose setting is missing; names the setting."""

    def __init__(self, setting: str) -> None:
        super().__init__(f"{setting} is not set")
        self.setting = setting


class MisuseError(IntegrationError, ValueError):
    """A call must not be sent as it is: a write without an idempotency key, say."""


class SignatureError(IntegrationError):
    """A webhook does not prove that its sender wrote it just now."""


class ServiceError(IntegrationError):
    """A service did not do what it was asked for.

    The text is made of names and numbers: an SDK's message may quote what was sent.
    """

    def __init__(
        self,
        name: str,
        what: str,
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(name, what, status, retry_after)
        self.name = name
        self.what = what
        self.status = status
        self.retry_after = retry_after

    def __str__(self) -> str:
        after = "" if self.retry_after is None else f", try in {self.retry_after:.0f} s"
        return f"{self.name}: {self.what}{after}"


class ServiceFailedError(ServiceError):
    """The service could not be reached, or failed."""


class ServiceThrottledError(ServiceError):
    """The service wants to be asked later."""


class ServiceRefusedError(ServiceError):
    """The service is well and says that the request is wrong."""


class UnreadableAnswerError(ServiceError):
    """The service answered what cannot be read."""
