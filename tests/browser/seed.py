"""Fill an installation with people, instances, bugs and artifacts of every kind.

Run inside the installation: `manage.py shell -c "from tests.browser import seed"`.
"""

import datetime as dt
import math

from django.contrib.auth.models import Group, User
from django.utils import timezone
from knox.models import AuthToken

from breakers.models import BreakerState, BreakerTraffic
from breakers.traffic import BUCKET, DAY, bucket_of
from bugfixer.models import Bug, Report, Severity, Status
from health.models import Instance
from ledger.models import Leaf
from ledger.services import ArtifactType, Source, record

PASSWORD = "a long password 1"


def people() -> None:
    """Make one user of each role, a superuser and a token."""
    User.objects.create_superuser("root", password=PASSWORD)
    for group in Group.objects.all():
        user = User.objects.create_user(group.name, password=PASSWORD, is_staff=True)
        user.groups.add(group)
    AuthToken.objects.create(User.objects.get(username="viewer"), dt.timedelta(days=9))


def instances() -> None:
    """Make instances that are well, away, held and silent."""
    now = timezone.now()
    for name, role, ready, hold, age in (
        ("web-1", "web", True, "", 0),
        ("web-2", "web", False, "drain", 0),
        ("web-4", "web", False, "observe", 0),
        ("worker-1", "worker", True, "", 0),
        ("beat-1", "beat", True, "", 300),
    ):
        Instance.objects.create(
            name=name,
            role=role,
            boot_id="b",
            version="0.1.0",
            started_at=now,
            # Ahead, so that they stay fresh for as long as the tests run.
            seen_at=now + dt.timedelta(minutes=10) - dt.timedelta(seconds=age * 3),
            ready=ready,
            detail={"rss": 412 << 20, "slots": 2, "fresh": 2, "reasons": ["db fails"]},
            hold=hold,
            hold_by="user:7" if hold else "",
            hold_reason="postgres socket saturated" if hold else "",
            hold_until=now + dt.timedelta(hours=2) if hold else None,
        )


def bugs() -> None:
    """Make a bug of every severity, one of them back again, with reports."""
    now = timezone.now()
    for place, severity in enumerate(Severity):
        bug = Bug.objects.create(
            title=f"TypeError: Cannot read properties of undefined (reading 't{place}')",
            error_type="TypeError",
            severity=severity,
            status=Status.REGRESSED if place == 1 else Status.OPEN,
            first_seen=now - dt.timedelta(hours=place),
            last_seen=now,
            occurrences=1204 - place,
            component="shop",
        )
        for number in range(20):
            Report.objects.create(
                report_id=f"BUG-{place}-{number}",
                bug=bug,
                received_at=now - dt.timedelta(hours=number),
                payload=Report.pack({"errorMessage": "x", "stack": "at shop.js:1"}),
                user_id=str(number % 3),
                counted=True,
            )


def breakers() -> None:
    """Make breakers in every state."""
    now = timezone.now()
    minute = dt.timedelta(minutes=1)
    opened = {"state": "OPEN", "version": 3, "trips": 2, "updated_at": now}
    BreakerState.objects.create(
        name="openai",
        reason="5 timeouts in a row",
        last_error="CallTimeoutError",
        opened_at=now - 29 * minute,
        open_until=now + 30 * minute,
        **opened,
    )
    BreakerState.objects.create(
        name="webhooks",
        reason="52 % of 40 calls failed",
        last_error="HTTPStatusError 503",
        opened_at=now - 2 * minute,
        open_until=now - minute,
        **opened,
    )
    for name, mode in (("coinbase", "disabled"), ("geocode", "metrics_only")):
        BreakerState.objects.create(
            name=name,
            version=2,
            override=mode,
            override_reason="Charge API retired",
            override_by="user:7",
            override_until=now + 49 * minute,
            updated_at=now - 71 * minute,
        )
    BreakerState.objects.create(
        name="supabase", version=9, trips=4, updated_at=now - 2880 * minute
    )


def traffic() -> None:
    """Make a day of calls: a wave by the hour, failures, a gap, and one that ended."""
    running = bucket_of(timezone.now())
    for name, most in (("openai", 2400), ("webhooks", 60), ("supabase", 9500)):
        for back in range(DAY // BUCKET):
            wave = 0.6 + 0.4 * math.sin(back / 46) + 0.03 * math.sin(back * 1.7)
            calls = round(most * wave)
            failed = calls // 3 if name == "openai" and 6 <= back < 9 else calls // 900
            if name == "openai" and back < 6:
                calls = failed = 0
            if name == "supabase" and 40 <= back < 60:
                continue
            at = running - back * BUCKET
            BreakerTraffic.objects.create(name=name, at=at, calls=calls, failed=failed)


def artifacts() -> None:
    """Record one artifact of every type; all but the last are sequenced."""
    known = list(ArtifactType)
    for number, kind in enumerate(known):
        subject = "bug:1" if kind.startswith("bug_") else "instance:web-2"
        if kind == ArtifactType.BREAKER_TRIP:
            subject = "breaker:openai"
        whole = kind == ArtifactType.LEDGER_VERIFY
        more = {"ok": True, "size": number} if whole else {}
        row = record(
            type=kind,
            source=Source.WATCHDOG,
            subject=subject,
            actor="user:7" if kind == ArtifactType.HOLD else "",
            reason="postgres did not answer in 2.0 s",
            **more,
        )
        if number < len(known) - 1:
            Leaf.objects.create(sequence=number, artifact=row)


people()
instances()
bugs()
breakers()
traffic()
artifacts()
