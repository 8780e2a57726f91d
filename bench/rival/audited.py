"""One audited create by django-auditlog and django-pghistory, beside a bare one.

Runs in the rivals' environment on the database of DATABASE_URL, in tables of its own;
prints a name and a ratio a line.
"""

import os
import statistics
import time

import dj_database_url
from django.conf import settings

URL = os.environ["DATABASE_URL"]
POSTGRES = URL.startswith("postgres")
DATABASE = dict(dj_database_url.parse(URL))
if not POSTGRES:
    DATABASE["NAME"] = f"{DATABASE['NAME']}.rivals"
    DATABASE["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL;",
    }
settings.configure(
    DATABASES={"default": DATABASE},
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "auditlog",
        *(["pgtrigger", "pghistory"] if POSTGRES else []),
    ],
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
    SECRET_KEY="bench",
)

import django  # noqa: E402

django.setup()

from auditlog.registry import auditlog  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection, models, transaction  # noqa: E402

PASSES = 9


def make(name, base=models.Model, **meta):
    body = {
        "name": models.CharField(max_length=80),
        "value": models.IntegerField(),
        "Meta": type("Meta", (), {"app_label": "auditlog", **meta}),
        "__module__": __name__,
    }
    return type(name, (base,), body)


def create(model):
    for number in range(200):
        with transaction.atomic():
            model.objects.create(name="x", value=number)


def timed(model):
    started = time.perf_counter()
    create(model)
    return time.perf_counter() - started


def main():
    call_command("migrate", verbosity=0)
    plain, logged = make("RivalBare"), make("RivalLogged")
    auditlog.register(logged)
    tables, rivals = [plain, logged], {"django-auditlog": logged}
    if POSTGRES:
        import pghistory

        tracked = make("RivalTracked")
        tracked = pghistory.track(pghistory.InsertEvent(), app_label="auditlog")(
            tracked
        )
        tables += [tracked, tracked.pgh_event_model]
        rivals["django-pghistory"] = tracked
    with connection.schema_editor() as editor:
        for model in tables:
            editor.create_model(model)
    if POSTGRES:
        for trigger in tracked._meta.triggers:
            trigger.install(tracked)
    for name, model in rivals.items():
        create(plain), create(model)
        pairs = [(timed(model), timed(plain)) for _ in range(PASSES)]
        ours = statistics.median(a for a, _ in pairs)
        print(name, f"{ours / statistics.median(b for _, b in pairs):.2f}")


main()
