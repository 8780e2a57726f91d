"""The watchdog's threads for the ledger."""

import pytest

from health.ledgerwork import LedgerWork
from ledger.models import Artifact
from tests.ledger.processes import wait_until
from tests.ledger.test_spool import leave_file, make_line

pytestmark = pytest.mark.django_db(transaction=True)


def test_what_a_dead_process_left_is_adopted_and_gets_its_place(settings):
    path = leave_file(settings.SPOOL_DIR, make_line(1), make_line(2))
    work = LedgerWork()

    work.start()

    try:
        wait_until(lambda: Artifact.objects.filter(leaf__isnull=False).count() == 2)
        wait_until(lambda: not path.exists())
    finally:
        work.stop(wait=5)
