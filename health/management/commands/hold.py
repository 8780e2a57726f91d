"""`manage.py hold NAME drain|observe|release --reason ... --minutes 60`."""

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from health.errors import HoldRefusedError
from health.models import Instance
from health.services import hold, release


class Command(BaseCommand):
    help = (
        "Take an instance out of traffic, keep the watchdog's hands off it, or end it."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="the instance, as `manage.py hold` lists it")
        parser.add_argument("what", choices=("drain", "observe", "release"))
        parser.add_argument("--reason", default="", help="why; 5 to 200 characters")
        parser.add_argument("--minutes", type=int, default=60, help="until it ends")
        parser.add_argument(
            "--no-end", action="store_true", help="until somebody releases it"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        instance = Instance.objects.filter(pk=options["name"]).first()
        if instance is None:
            known = ", ".join(Instance.objects.values_list("name", flat=True)) or "none"
            raise CommandError(f"No instance {options['name']!r}; known are: {known}")
        if options["what"] == "release":
            release(instance=instance, reason=options["reason"], actor="")
            self.stdout.write(f"{instance.name} is free")
            return
        minutes = timedelta(minutes=options["minutes"])
        until = None if options["no_end"] else timezone.now() + minutes
        try:
            # Whoever may run commands on the machine may hold without end.
            hold(
                instance=instance,
                kind=options["what"],
                reason=options["reason"],
                until=until,
                actor="",
                endless=True,
            )
        except HoldRefusedError as error:
            raise CommandError(str(error)) from None
        end = f"until {until:%Y-%m-%d %H:%M} UTC" if until else "without end"
        self.stdout.write(f"{instance.name}: {options['what']} {end}")
