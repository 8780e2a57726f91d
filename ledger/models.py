"""Five tables that only grow; the database refuses to change or delete a row."""

import json
from collections.abc import Iterable
from functools import cached_property
from operator import attrgetter
from typing import Any
from uuid import UUID

from django.db import models, router

from ledger.entry import Entry, leaf_hash, read_entry, stamp

COLUMNS = ("event_id", "at", "type", "source", "node", "subject", "body", "hash")


class ArtifactQuerySet(models.QuerySet["Artifact"]):
    """Named reads of the artifacts."""

    def with_sequence(self) -> "ArtifactQuerySet":
        """Fetch the leaf with the artifact: the sequence costs no second query."""
        return self.select_related("leaf")

    def by_event(self, event_id: UUID) -> "ArtifactQuerySet":
        """Return the artifact of one event, if it was recorded."""
        return self.filter(event_id=event_id)

    def by_hash_prefix(self, prefix: str) -> "ArtifactQuerySet":
        """Return the artifacts whose hash begins so (hex), by a range of the index."""
        low = bytes.fromhex(prefix[: len(prefix) // 2 * 2])
        found = self.filter(hash__gte=low)
        if len(prefix) == 64:
            return self.filter(hash=low)
        first, last = (prefix + end * (64 - len(prefix)) for end in "0f")
        return found.filter(
            hash__gte=bytes.fromhex(first), hash__lte=bytes.fromhex(last)
        )


class Artifact(models.Model):
    """One healing event: the canonical bytes, their hash, and columns to find it by."""

    event_id = models.UUIDField(unique=True)
    at = models.DateTimeField(db_index=True)
    type = models.CharField(max_length=40)
    source = models.CharField(max_length=40)
    node = models.CharField(max_length=64)
    subject = models.CharField(max_length=80, blank=True)
    body = models.TextField()
    hash = models.BinaryField(max_length=32)

    objects = ArtifactQuerySet.as_manager()

    # True on what record() returns when the event had been recorded before.
    repeated = False

    class Meta:
        indexes = [
            # Not db_index: on PostgreSQL that makes a second one for LIKE.
            models.Index(fields=["source"], name="ledger_artifact_source"),
            models.Index(fields=["type", "id"], name="ledger_artifact_type"),
            models.Index(fields=["subject", "id"], name="ledger_artifact_subject"),
            models.Index(fields=["hash"], name="ledger_artifact_hash"),
        ]
        permissions = [("verify_ledger", "Can start a verification of the ledger")]

    def __str__(self) -> str:
        number = self.sequence
        return f"{'pending' if number is None else f'#{number:,}'} {self.type}"

    @property
    def sequence(self) -> int | None:
        """Return the place in the tree; None while pending."""
        leaf = getattr(self, "leaf", None)
        return None if leaf is None else leaf.sequence

    @property
    def hash_hex(self) -> str:
        """Return the hash as lower-case hex."""
        return bytes(self.hash).hex()

    @cached_property
    def fields(self) -> dict[str, Any]:
        """Return what the stored bytes say; the columns are an index only."""
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def actor(self) -> str:
        """Return who did it: user:7, loopback, watchdog, or empty."""
        return str(self.fields.get("actor", ""))

    @property
    def details(self) -> dict[str, Any]:
        """Return the details of the stored bytes."""
        return dict(self.fields.get("details", {}))

    @property
    def timestamp(self) -> str:
        """Return the time in the bytes: UTC, microseconds, Z."""
        return str(self.fields.get("at") or stamp(self.at))

    def is_intact(self) -> bool:
        """Tell whether the bytes still have this hash and say what the columns say."""
        body = self.body.encode(errors="surrogatepass")
        if leaf_hash(body) != bytes(self.hash):
            return False
        try:
            entry = read_entry(body)
        except ValueError:
            return False
        columns = ("event_id", "at", "type", "source", "node", "subject")
        return all(getattr(entry, name) == getattr(self, name) for name in columns)

    @classmethod
    def from_entry(cls, entry: Entry, *, pk: int) -> "Artifact":
        """Return the row of an entry as it was inserted."""
        alias = router.db_for_write(cls)
        return cls.from_db(alias, ("id", *COLUMNS), (pk, *attrgetter(*COLUMNS)(entry)))


class Leaf(models.Model):
    """The place of an artifact in the tree: dense from 0, the RFC 6962 leaf index."""

    sequence = models.BigIntegerField(primary_key=True)
    # No constraint: it would lock each artifact row; verify finds one that is missing.
    artifact = models.OneToOneField(
        Artifact, on_delete=models.DO_NOTHING, db_constraint=False, related_name="leaf"
    )

    def __str__(self) -> str:
        return f"#{self.sequence:,}"


class Tile(models.Model):
    """256 neighbouring hashes of one level of the tree, once all of them exist."""

    level = models.SmallIntegerField()
    index = models.BigIntegerField()
    # Before the data: the right edge reads 255 roots without touching the 8 kB.
    root = models.BinaryField(max_length=32)
    data = models.BinaryField(max_length=8192)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["level", "index"], name="ledger_tile_place")
        ]

    def __str__(self) -> str:
        return f"tile {self.level}/{self.index}"


class Checkpoint(models.Model):
    """The root of the tree at one size, as a C2SP checkpoint."""

    origin = models.CharField(max_length=120)
    size = models.BigIntegerField()
    root = models.BinaryField(max_length=32)
    note = models.TextField()
    at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["origin", "size"], name="ledger_checkpoint_size"
            )
        ]

    def __str__(self) -> str:
        return f"{self.origin} {self.size:,}"


class Anchor(models.Model):
    """Where else a checkpoint was written down, and when."""

    checkpoint = models.ForeignKey(
        Checkpoint, on_delete=models.DO_NOTHING, db_constraint=False
    )
    target = models.CharField(max_length=40)
    receipt = models.TextField()
    at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.target} of {self.checkpoint_id}"


def table_names() -> Iterable[str]:
    """Return the five tables, artifacts first."""
    for model in (Artifact, Leaf, Tile, Checkpoint, Anchor):
        yield model._meta.db_table
