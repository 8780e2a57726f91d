#!/usr/bin/env python3
"""Run a management command of the project."""

import os
import sys

from django.core.management import execute_from_command_line
from django.db import DatabaseError, InterfaceError

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fortheweebs.settings")
    try:
        execute_from_command_line(sys.argv)
    except (DatabaseError, InterfaceError) as error:
        reason = (
            str(error).strip().splitlines()[0] if str(error).strip() else "no answer"
        )
        sys.exit(
            f"The database refused: {reason}\n"
            "Check DATABASE_URL and that the server runs; if a table or column is"
            " missing, run `manage.py migrate`."
        )
