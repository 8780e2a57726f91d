"""Who wants to hear of transitions. Pure."""

import logging
import threading
from collections.abc import Callable

from breakers.states import Transition

Listener = Callable[[Transition], object]

logger = logging.getLogger(__name__)
_listeners: tuple[Listener, ...] = ()
_changing = threading.Lock()


def on_transition(listener: Listener) -> Callable[[], None]:
    """Call the listener on every change of state of any breaker, outside all locks.

    One that raises is logged and harmless. Returns a function that takes it off again.
    """
    global _listeners  # noqa: PLW0603 - replaced whole, so that reading needs no lock
    with _changing:
        _listeners = (*_listeners, listener)

    def take_off() -> None:
        global _listeners  # noqa: PLW0603
        with _changing:
            _listeners = tuple(one for one in _listeners if one is not listener)

    return take_off


def notify(transition: Transition | None) -> None:
    """Tell every listener; in the thread that made the change, holding no lock."""
    if transition is None:
        return
    for listener in _listeners:
        try:
            listener(transition)
        except Exception:
            logger.exception("a listener of breaker %s raised", transition.name)
