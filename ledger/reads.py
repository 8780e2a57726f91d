"""Bounded reads of the ledger for API and console."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import connections, router

from ledger import sequencer, tree
from ledger.errors import NotSequencedError
from ledger.models import Artifact, ArtifactQuerySet, Checkpoint

COUNT_LIMIT = 10_000


@dataclass(frozen=True, slots=True)
class Proof:
    """How one entry is included in the newest checkpoint."""

    sequence: int
    size: int
    leaf: bytes
    hashes: list[bytes]
    checkpoint: str

    @property
    def leaf_hash(self) -> str:
        """Return the leaf hash as hex."""
        return self.leaf.hex()

    @property
    def path(self) -> list[str]:
        """Return the hashes from the leaf's sibling up, as hex."""
        return [digest.hex() for digest in self.hashes]


@dataclass(frozen=True, slots=True)
class Consistency:
    """How the tree only grew from one size to another."""

    first: int
    size: int
    hashes: list[bytes]
    checkpoint: str

    @property
    def path(self) -> list[str]:
        """Return the hashes as hex."""
        return [digest.hex() for digest in self.hashes]


def matching(wanted: Mapping[str, Any]) -> ArtifactQuerySet:
    """Return the artifacts of a type, source, subject and span of time."""
    found = Artifact.objects.with_sequence()
    names = {"since": "at__gte", "until": "at__lt"}
    return found.filter(
        **{
            names.get(name, name): wanted[name]
            for name in ("type", "source", "subject", "since", "until")
            if name in wanted
        }
    )


def count_matching(wanted: Mapping[str, Any]) -> int:
    """Return how many artifacts match: all exactly, a selection up to 10,000."""
    if wanted:
        return matching(wanted).select_related(None)[:COUNT_LIMIT].count()
    with connections[router.db_for_read(Artifact)].cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT coalesce(max(sequence) + 1, 0) FROM ledger_leaf)"
            " + (SELECT count(*) FROM ledger_artifact a WHERE a.id >"
            " (SELECT coalesce(max(artifact_id), 0) - %s FROM ledger_leaf)"
            " AND NOT EXISTS"
            " (SELECT 1 FROM ledger_leaf l WHERE l.artifact_id = a.id))",
            [sequencer.LOOK_BACK],
        )
        return int(cursor.fetchone()[0])


def version() -> str:
    """Return what changes with each new artifact and each new place: an ETag."""
    with connections[router.db_for_read(Artifact)].cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT max(id) FROM ledger_artifact),"
            " (SELECT max(sequence) FROM ledger_leaf)"
        )
        newest, last = cursor.fetchone()
    return f"{newest or 0}-{-1 if last is None else last}"


def newest_checkpoint() -> Checkpoint:
    """Return the newest checkpoint.

    Raises:
        NotSequencedError: nothing has been sequenced yet.
    """
    newest = Checkpoint.objects.order_by("-id").first()
    if newest is None:
        raise NotSequencedError("the ledger has no checkpoint yet")
    return newest


def prove_inclusion(sequence: int) -> Proof:
    """Return the proof of one entry in the newest checkpoint, in six queries.

    Raises:
        NotSequencedError: the checkpoint does not cover that sequence.
    """
    newest = newest_checkpoint()
    leaf, path = tree.inclusion(sequence, newest.size)
    return Proof(sequence, newest.size, leaf, path, newest.note)


def prove_consistency(first: int, size: int | None) -> Consistency:
    """Return the proof that the tree only grew between two sizes.

    Raises:
        NotSequencedError: the tree never had one of these sizes.
    """
    newest = newest_checkpoint()
    size = newest.size if size is None else size
    if size > newest.size:
        raise NotSequencedError(f"the newest checkpoint covers {newest.size} entries")
    return Consistency(first, size, tree.consistency(first, size), newest.note)
