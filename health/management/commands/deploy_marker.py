"""`manage.py deploy_marker --version 1.2.3 --reason ...`."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from health.errors import DeployRefusedError
from health.services import mark_deploy


class Command(BaseCommand):
    help = (
        "Record that this node (NODE_NAME) runs a version from now on. Asked again, it"
        " records nothing; after another version it does."
    )

    def create_parser(
        self, prog_name: str, subcommand: str, **options: Any
    ) -> CommandParser:
        # Django's own --version prints its own, which nobody asks this command for.
        return super().create_parser(
            prog_name, subcommand, conflict_handler="resolve", **options
        )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--version",
            default=settings.VERSION,
            help=f"what was deployed; default: the one that runs, {settings.VERSION}",
        )
        parser.add_argument("--reason", default="", help="why, up to 200 characters")

    def handle(self, *args: Any, **options: Any) -> None:
        version = options["version"]
        try:
            told = mark_deploy(version=version, reason=options["reason"])
        except DeployRefusedError as error:
            raise CommandError(str(error)) from None
        said = "was recorded before" if told.repeated else "is recorded"
        self.stdout.write(f"{version} on {told.node} {said}")
