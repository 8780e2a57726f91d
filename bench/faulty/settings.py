"""Our settings with an application that can be told to misbehave."""

from fortheweebs.settings import *  # noqa: F403
from fortheweebs.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "bench.faulty.apps.FaultyConfig"]
ROOT_URLCONF = "bench.faulty.urls"
