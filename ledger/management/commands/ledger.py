"""`manage.py ledger`: verify, export, rebase, harden."""

import sys
from argparse import ArgumentParser
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand
from django.db import DatabaseError, connection

from ledger import sequencer, services, spool, triggers, upkeep
from ledger.errors import BrokenError, BusyError, CannotLookError, NothingLostError
from ledger.export import write_export
from ledger.verify import describe

WHOLE, BROKEN, COULD_NOT_LOOK = 0, 1, 2


class Command(BaseCommand):
    help = "Verify, export, rebase or harden the ledger."
    # Lost guards are what verify is there to report.
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        verify = verbs.add_parser("verify", help="find what was changed")
        scope = verify.add_mutually_exclusive_group()
        scope.add_argument("--full", action="store_true", help="look at every row")
        scope.add_argument("--since", type=int, help="look at rows from this size on")
        verify.add_argument("--against", type=Path, help="anchors or a checkpoint")
        verify.add_argument("--jobs", type=int, default=1, help="processes")
        export = verbs.add_parser("export", help="write checkpoint and entries")
        export.add_argument("file", type=Path, nargs="?", help=".gz packs it")
        rebase = verbs.add_parser("rebase", help="go on after a restore")
        rebase.add_argument("--reason", required=True)
        rebase.add_argument("--against", type=Path)
        harden = verbs.add_parser("harden", help="print GRANT and OWNER SQL")
        harden.add_argument("--role", required=True, help="the application's role")

    def handle(self, *args: Any, verb: str, **options: Any) -> None:
        try:
            status = getattr(self, verb)(**options)
        except (BusyError, CannotLookError, DatabaseError, OSError) as error:
            self.stderr.write(
                f"could not look: {error}\nCheck DATABASE_URL; if a table is missing,"
                " run `manage.py migrate`."
            )
            status = COULD_NOT_LOOK
        if status:
            sys.exit(status)

    def verify(self, **options: Any) -> int:
        names = ("full", "since", "against", "jobs")
        verdict = upkeep.verify_ledger(**{name: options[name] for name in names})
        for line in describe(verdict):
            self.stdout.write(line)
        self.stdout.write(_anchored())
        return WHOLE if verdict.ok else BROKEN

    def export(self, *, file: Path | None, **options: Any) -> int:
        spool.ship()
        sequencer.sequence_all()
        count = write_export(file)
        self.stderr.write(f"{count} entries exported")
        return WHOLE

    def rebase(self, *, reason: str, against: Path | None, **options: Any) -> int:
        try:
            artifact = upkeep.rebase(reason=reason, against=against)
        except (BrokenError, NothingLostError, BusyError) as error:
            self.stderr.write(str(error))
            return BROKEN
        told = artifact.details
        self.stdout.write(
            f"kept {told['kept_size']} entries; {told['lost_origin']} of size"
            f" {told['lost_size']} is declared lost; goes on as {told['origin']}"
        )
        return WHOLE

    def harden(self, *, role: str, **options: Any) -> int:
        if connection.vendor != "postgresql":
            self.stderr.write("could not look: SQLite has no roles")
            return COULD_NOT_LOOK
        for line in triggers.harden_sql(connection, role):
            self.stdout.write(line)
        return WHOLE


def _anchored() -> str:
    now = services.state()
    if now.anchored_at is None:
        return "nothing is anchored"
    age = (datetime.now(UTC) - now.anchored_at).total_seconds()
    return (
        f"anchored up to {now.anchored_size} entries, {age:.0f} s ago;"
        f" {now.size - now.anchored_size} sequenced and {now.pending} pending are not"
    )
