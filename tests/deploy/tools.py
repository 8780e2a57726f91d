"""Manifests as Python, and the tools that read them."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


def documents(name: str) -> list[dict[str, Any]]:
    """Return the documents of a manifest."""
    return list(yaml.safe_load_all((ROOT / "k8s" / name).read_text()))


def one(kind: str, name: str) -> dict[str, Any]:
    """Return one resource of the deployment."""
    (found,) = (
        document
        for document in documents("deployment.yaml")
        if document["kind"] == kind and document["metadata"]["name"] == name
    )
    return found


def pod_of(document: dict[str, Any]) -> dict[str, Any]:
    """Return the pod's specification of a workload."""
    return document["spec"]["template"]["spec"]


def container(pod: dict[str, Any], name: str) -> dict[str, Any]:
    """Return one container, sidecars included."""
    both = [*pod.get("initContainers", []), *pod["containers"]]
    (found,) = (each for each in both if each["name"] == name)
    return found


def tool(name: str, package: str, path: str | None = None) -> str:
    """Return a tool's path; without it skip, or fail where everything is required."""
    found = shutil.which(name, path=path)
    if found:
        return found
    sentence = f"no {name}: {package}"
    if os.environ.get("REQUIRE_ALL") == "1":
        pytest.fail(sentence)
    pytest.skip(sentence)
