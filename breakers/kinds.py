"""What the class of an error says, looked at once a class. Pure."""

from dataclasses import dataclass

from breakers.errors import CallRefusedError

# Where clients keep a status: on the answer, or on the error itself.
PLACES = ("response", "status_code", "http_status", "code")
_MANY = 1024


@dataclass(frozen=True, slots=True)
class Kind:
    """Facts of a class of errors.

    ``local``: the call failed on our side before it left (refused further in, a pool
    that was empty), which is no verdict. ``late``: it took too long. ``speaks``: the
    class itself carries a status.
    """

    name: str
    local: bool
    late: bool
    speaks: bool


KINDS: dict[type, Kind] = {}


def kind_of(error: BaseException) -> Kind:
    """Return the facts of an error's class."""
    kind = KINDS.get(type(error))
    return kind if kind is not None else learn(type(error))


def says_nothing(error: BaseException, kind: Kind) -> bool:
    """Tell whether an error can carry no status: most do not, and looking costs 1 us."""
    return not kind.speaks and not getattr(error, "__dict__", None)


def learn(error: type[BaseException]) -> Kind:
    """Look at a class for the first time."""
    if len(KINDS) >= _MANY:  # classes made on the fly
        KINDS.clear()
    bases = [base.__name__ for base in error.__mro__]
    kind = KINDS[error] = Kind(
        name=error.__name__,
        local=issubclass(error, CallRefusedError) or "PoolTimeout" in bases,
        late=issubclass(error, TimeoutError)
        or any("Timeout" in base for base in bases),
        speaks=any(hasattr(error, place) for place in PLACES),
    )
    return kind
