"""What the ledger is told of accounts: ids and names of fields, never a value."""

from collections.abc import Iterable

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, User

from ledger.kinds import ArtifactType, Source
from ledger.services import record

Person = User | AbstractBaseUser | AnonymousUser


def record_change(*, user: Person, by: Person | None, change: Iterable[str]) -> None:
    """Record what was changed of whom, in the caller's transaction: names only."""
    record(
        type=ArtifactType.ACCOUNT_CHANGE,
        source=Source.OPERATOR,
        subject=f"user:{user.pk}",
        actor=f"user:{by.pk}" if by else "",
        changed=sorted(set(change)),
    )


def login_subject(username: str) -> str:
    """Return how artifacts call a name typed at the login: its id, if it is known."""
    known = User.objects.filter(username=username).values_list("pk", flat=True).first()
    return "login" if known is None else f"user:{known}"
