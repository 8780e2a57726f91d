"""Make the first operator of a new installation; `make run` calls this."""

import secrets
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.management.base import BaseCommand
from django.db import transaction

from fortheweebs.accounts import record_change

NAME = "operator"


class Command(BaseCommand):
    help = "Make the user `operator` when nobody is staff; print the password once."

    def handle(self, *args: Any, **options: Any) -> None:
        users = get_user_model().objects
        if users.filter(is_staff=True).exists():
            return
        password = secrets.token_urlsafe(15)
        with transaction.atomic():
            user, _ = users.get_or_create(username=NAME)
            user.is_staff = user.is_active = True
            user.set_password(password)
            user.save()
            user.groups.set([Group.objects.get(name="operator")])
            record_change(user=user, by=None, change=["added", "groups"])
        self.stdout.write(f"operator login: {NAME}  password: {password}")
