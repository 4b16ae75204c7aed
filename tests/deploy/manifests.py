"""The manifests of deploy/kubernetes, built as `kubectl apply -k` builds them."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.facts import DEPLOY

KUBERNETES = DEPLOY / "kubernetes"
OVERLAYS = ("overlays/aws", "overlays/aws/migration", "overlays/local", "overlays/local/migration")
LOCAL_SECRETS = {
    "overlays/local/account/secrets": ("database-url", "passphrase"),
    "overlays/local/migration/secrets": ("password",),
}
"""The files that a user of the local overlay makes."""
_KUSTOMIZE_MIN = (5, 0)

Manifest = dict[str, Any]


@functools.cache
def missing_kubectl() -> str | None:
    """Why overlays cannot be built here; None if they can."""
    if shutil.which("kubectl") is None:
        return "kubectl is not installed"
    shown = subprocess.run(["kubectl", "version", "--client"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"Kustomize Version: v(\d+)\.(\d+)", shown)
    if found is None or (int(found[1]), int(found[2])) < _KUSTOMIZE_MIN:
        return "kubectl is older than 1.27, whose kustomize is the first with all that the overlays use"
    return None


needs_kubectl = pytest.mark.skipif(missing_kubectl() is not None, reason=missing_kubectl() or "")


def copy_with_secrets(folder: Path) -> Path:
    """A copy of the manifests in which the files of secrets exist."""
    copied = folder / "kubernetes"
    shutil.copytree(KUBERNETES, copied)
    for directory, names in LOCAL_SECRETS.items():
        (copied / directory).mkdir()
        for name in names:
            (copied / directory / name).write_text(f"the {name} of a test")
    return copied


def build(kubernetes: Path, overlay: str) -> list[Manifest]:
    """What an overlay consists of."""
    command = ["kubectl", "kustomize", str(kubernetes / overlay)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (built.returncode, built.stderr) == (0, "")  # a warning on standard error is a deprecated form
    return list(yaml.safe_load_all(built.stdout))


def plain_files() -> dict[str, list[Manifest]]:
    """Every manifest as it is written, without what overlays change, by its file."""
    files = {path for path in KUBERNETES.rglob("*.yaml") if path.name != "kustomization.yaml"}
    documents = {str(path.relative_to(KUBERNETES)): list(yaml.safe_load_all(path.read_text("utf-8"))) for path in files}
    return {name: found for name, found in documents.items() if not _is_patch(name)}


def _is_patch(name: str) -> bool:
    directory = (KUBERNETES / name).parent
    return any(entry.get("path") == Path(name).name for entry in _kustomization(directory).get("patches", []))


def _kustomization(directory: Path) -> Manifest:
    loaded: Manifest = yaml.safe_load((directory / "kustomization.yaml").read_text("utf-8"))
    return loaded


def replicas_of(overlay: str) -> int:
    """The number of pods of all Deployments of an overlay."""
    changed = {entry["name"]: entry["count"] for entry in _kustomization(KUBERNETES / overlay).get("replicas", [])}
    base = [manifest for name, found in plain_files().items() if name.startswith("base/") for manifest in found]
    deployments = of_kind(base, "Deployment")
    return sum(changed.get(m["metadata"]["name"], m["spec"]["replicas"]) for m in deployments)


def pod_specs(manifests: list[Manifest]) -> list[tuple[str, Manifest]]:
    """The pod templates, by the name of what makes the pods."""
    return [(m["metadata"]["name"], m["spec"]["template"]) for m in manifests if m["kind"] in ("Deployment", "Job")]


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] == kind]
