"""The image: linted, without root, from the same lock, for the ports of the settings."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from django.conf import settings

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_the_dockerfile_passes_its_linter():
    linter = shutil.which("hadolint", path=str(Path(sys.executable).parent))

    done = subprocess.run(
        [linter, str(ROOT / "Dockerfile")], capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout


def test_the_image_has_no_root_and_the_locked_packages():
    assert re.search(r"^USER 10001:10001$", DOCKERFILE, re.MULTILINE)
    assert "--require-hashes -r requirements.lock" in DOCKERFILE


def test_the_image_exposes_the_two_ports_of_the_settings():
    exposed = re.search(r"^EXPOSE (.*)$", DOCKERFILE, re.MULTILINE)

    assert exposed[1].split() == [str(settings.PORT), str(settings.PROBE_PORT)]


def test_no_lock_file_names_a_registry_host():
    for name in ("requirements.lock", "requirements-dev.lock"):
        assert "://" not in (ROOT / name).read_text()
