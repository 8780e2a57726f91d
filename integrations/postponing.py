"""A Celery task that waits for its circuit.

``@app.task(base=PatientTask)``: a refused call sends the task back to the queue until the
breaker lets it try. That costs no retry: ``max_retries`` counts what really failed.
"""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

from celery import Task
from celery.exceptions import Reject, Retry
from kombu.exceptions import OperationalError

from breakers import CallRefusedError

# Seconds to wait where the refusal does not say.
UNNAMED = 1.0
# Redis gives a task out again that was not begun within `visibility_timeout`, 120 s.
MOST = 60.0


class PatientTask(Task[Any, Any]):
    """Come back later, without counting it, when a call is refused."""

    abstract = True
    # With `autoretry_for = (Exception,)` a refusal would be counted after all.
    dont_autoretry_for = (CallRefusedError,)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task; put a refused one back into the queue."""
        if self.request.called_directly or self.request.is_eager:
            return super().__call__(*args, **kwargs)
        try:
            # Not super(): that would hide the worker's request from the task.
            return self.run(*args, **kwargs)
        except CallRefusedError as refusal:
            raise self._postpone(refusal) from refusal

    def _postpone(self, refusal: CallRefusedError) -> Retry:
        wait = countdown(refusal)
        due = datetime.now(UTC) + timedelta(seconds=wait)
        again = self.signature_from_request(
            countdown=wait, retries=self.request.retries
        )
        try:
            again.apply_async()
        except OperationalError as error:
            # The broker keeps what it could not be told to keep for later.
            raise Reject(error, requeue=True) from error
        return Retry(exc=refusal, when=due, sig=again)


def countdown(refusal: CallRefusedError) -> float:
    """Return the seconds to wait: as asked, and a little longer by chance."""
    after = UNNAMED if refusal.retry_after is None else refusal.retry_after
    # The tasks that were refused together must not come back together.
    return min(after, MOST) * random.uniform(1.0, 1.1) + random.random()  # noqa: S311
