import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.db import connection


@pytest.mark.django_db
def test_the_suite_runs_on_a_real_postgresql_and_a_real_redis():
    User.objects.create(username="one")
    cache.set("key", "value")

    assert connection.vendor in {"postgresql", "sqlite"}
    assert cache.get("key") == "value"
