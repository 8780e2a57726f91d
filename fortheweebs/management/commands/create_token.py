"""Make an API token for a member of staff and print it once."""

from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from knox.models import AuthToken

from fortheweebs.accounts import record_change

LONGEST_DAYS = 3650


class Command(BaseCommand):
    help = "Make an API token for USER and print it once; it is stored hashed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", help="name of an active member of staff")
        parser.add_argument(
            "--days", type=int, default=90, help="days until it expires (90)"
        )

    def handle(self, *args: Any, user: str, days: int, **options: Any) -> None:
        if not 1 <= days <= LONGEST_DAYS:
            raise CommandError(f"--days is {days}; it may be 1 to {LONGEST_DAYS}.")
        owner = get_user_model().objects.filter(username=user).first()
        if owner is None:
            raise CommandError(f"There is no user {user!r}.")
        if not (owner.is_active and owner.is_staff):
            raise CommandError(f"{user!r} is not an active member of staff.")
        with transaction.atomic():
            _, token = AuthToken.objects.create(  # type: ignore[no-untyped-call]
                user=owner, expiry=timedelta(days=days)
            )
            record_change(user=owner, by=None, change=["token added"])
        self.stdout.write(token)
