"""Every shell and Python block of README and docs runs, against a running system."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser

from tests.system import ROOT, System

# These two are what this very run does: the fixture below is a `make run`, and the
# suite is `make test`.
ALREADY_RUN = {"make run", "make test"}
PREAMBLE = (
    "import os, django;"
    "os.environ['DJANGO_SETTINGS_MODULE'] = 'fortheweebs.settings'; django.setup()\n"
)
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
DOCUMENTS += [ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md")]


def run(system: System, command: list[str], stdin: str) -> None:
    """Run one block in the project's folder, on the running system's data."""
    environ = {
        **system.environ,
        "HTTPS_ONLY": "0",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    done = subprocess.run(
        command, cwd=ROOT, env=environ, input=stdin, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{stdin}\n{done.stdout}\n{done.stderr}"


def shell(example: Example) -> None:
    """Run a shell block; the port is this system's."""
    text = str(example.parsed).strip()
    if text in ALREADY_RUN:
        return
    system = example.namespace["system"]
    text = text.replace(":3001", f":{system.port}").replace(
        ":4001", f":{system.probe_port}"
    )
    run(system, ["bash", "-e", "-o", "pipefail"], text.replace("curl ", "curl -sSf "))


def python(example: Example) -> None:
    """Run a Python block with Django set up."""
    run(
        example.namespace["system"],
        [sys.executable, "-"],
        PREAMBLE + str(example.parsed),
    )


PARSERS = [CodeBlockParser(name, shell) for name in ("shell", "sh", "bash", "console")]
PARSERS.append(CodeBlockParser("python", python))


@pytest.mark.xdist_group("system")
@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_block_of_a_document_runs(system, path):
    document = Sybil(parsers=PARSERS, path=str(ROOT)).parse(path)
    document.namespace["system"] = system

    for example in document.examples():
        example.evaluate()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_of_a_document_leads_somewhere(path):
    links = re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", path.read_text())

    missing = [link for link in links if not (path.parent / link).exists()]

    assert missing == []
