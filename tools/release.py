"""``make release``: check a commit, and make its files: wheel, image context, Helm chart, SBOM and checksums."""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tomllib
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent

CHART = "deploy/helm/hsnn"
"""Folder of the Helm chart."""

# A tag that stays the same image: at least three numbers, as in 8.2.1 or 3.11.13-slim.
_EXACT_TAG = re.compile(r"v?\d+\.\d+\.\d+([.-].*)?")

_HEADING = re.compile(r"^## (?P<version>\S+), (?P<date>.+)$", re.MULTILINE)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def main(arguments: list[str]) -> int:
    """Check, and make the files in ``dist``; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="check only, and make nothing")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder of the files")
    options = parser.parse_args(arguments)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    problems = [*find_problems(ROOT, project), *_uncommitted(ROOT)]
    for problem in problems:
        print(f"release: {problem}", file=sys.stderr)
    if problems or options.check:
        return int(bool(problems))
    for path in make_files(ROOT, project, options.out):
        print(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}")
    return 0


def find_problems(root: Path, project: Mapping[str, Any]) -> Iterator[str]:
    """Yield what stands against a release of the files in `root`."""
    yield from changelog_problems((root / "CHANGELOG.md").read_text("utf-8"), project["version"])
    yield from lock_problems((root / "requirements.lock").read_text("utf-8"), project)
    yield from chart_problems((root / CHART / "Chart.yaml").read_text("utf-8"), project["version"])
    for name in ("Dockerfile", "docker-compose.yml"):
        yield from image_problems(name, (root / name).read_text("utf-8"), project["version"])


def changelog_problems(text: str, version: str) -> Iterator[str]:
    r"""Yield what is wrong with the top section of the changelog.

    Examples
    --------
    >>> list(changelog_problems("# Changes\n\n## 1.2.0, 2026-11-30\n", "1.2.0"))
    []
    >>> list(changelog_problems("# Changes\n\n## 1.2.0, not released yet\n", "1.2.0"))
    ["CHANGELOG.md: 1.2.0 is dated 'not released yet'; write the day, as in 2026-11-30"]
    """
    top = _HEADING.search(text)
    if top is None:
        yield "CHANGELOG.md has no section '## VERSION, DATE'"
        return
    if top["version"] != version:
        yield f"CHANGELOG.md begins with {top['version']}, pyproject.toml says {version}"
    if not _DATE.fullmatch(top["date"]):
        yield f"CHANGELOG.md: {top['version']} is dated {top['date']!r}; write the day, as in 2026-11-30"


def lock_problems(lock: str, project: Mapping[str, Any]) -> Iterator[str]:
    """Yield dependencies that the lock does not pin to a version that the project allows."""
    pins = {canonicalize_name(pin.name): pin for pin in read_lock(lock)}
    extras = project.get("optional-dependencies", {})
    for text in [*project["dependencies"], *(text for texts in extras.values() for text in texts)]:
        wanted = Requirement(text)
        pin = pins.get(canonicalize_name(wanted.name))
        if canonicalize_name(wanted.name) == project["name"]:
            continue
        if pin is None:
            yield f"requirements.lock lacks {wanted.name}; run `make lock`"
        elif not wanted.specifier.contains(_version(pin), prereleases=True):
            yield f"requirements.lock has {pin}, pyproject.toml wants {wanted}; run `make lock`"


def chart_problems(text: str, version: str) -> Iterator[str]:
    r"""Yield what is wrong with the versions of the Helm chart.

    Examples
    --------
    >>> list(chart_problems('version: 1.0.0\nappVersion: "1.1.0"\n', "1.1.0"))
    ['Chart.yaml: version is 1.0.0, pyproject.toml says 1.1.0']
    """
    for key in ("version", "appVersion"):
        found = re.search(rf'^{key}: "?([^"\n]*)"?$', text, re.MULTILINE)
        if found is None or found[1] != version:
            yield f"Chart.yaml: {key} is {found and found[1]}, pyproject.toml says {version}"


def image_problems(name: str, text: str, version: str) -> Iterator[str]:
    r"""Yield images without an exact tag, which may be another image tomorrow.

    Examples
    --------
    >>> list(image_problems("x", "FROM python:3.11-slim AS build\n  image: redis:8.2.1\n", "1.0.0"))
    ['x: python:3.11-slim has no exact tag, as in NAME:1.2.3']
    """
    stages = set(re.findall(r"^FROM \S+ AS (\S+)", text, re.MULTILINE))
    for image in re.findall(r"^(?:FROM|\s+image:)\s+(\S+)", text, re.MULTILINE):
        if image in stages:
            continue
        repository, _, tag = image.partition("@")[0].rpartition(":")
        if not _EXACT_TAG.fullmatch(tag):
            yield f"{name}: {image} has no exact tag, as in NAME:1.2.3"
        elif repository.startswith("hsnn") and tag != version:
            yield f"{name}: {image} is not the version of pyproject.toml, {version}"


def read_lock(text: str) -> list[Requirement]:
    """Read the pins of a lock file."""
    lines = (line.strip() for line in text.splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def bill_of_materials(project: Mapping[str, Any], lock: str) -> dict[str, Any]:
    """Make a CycloneDX 1.6 bill of materials of the project and everything that the lock pins; the same every time."""
    components = []
    for pin in read_lock(lock):
        name, version = canonicalize_name(pin.name), _version(pin)
        component = {"type": "library", "name": name, "version": version, "purl": f"pkg:pypi/{name}@{version}"}
        component["bom-ref"] = component["purl"]
        if pin.marker is not None:
            component["description"] = f"where {pin.marker}"
        components.append(component)
    purl = f"pkg:pypi/{project['name']}@{project['version']}"
    subject = {"type": "application", "name": project["name"], "version": project["version"], "purl": purl}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, purl + lock)}",
        "version": 1,
        "metadata": {"component": subject | {"bom-ref": purl, "licenses": [{"license": {"id": project["license"]}}]}},
        "components": components,
    }


def image_context(dockerfile: str) -> list[str]:
    """List the files and folders that an image is built from: the Dockerfile and what it copies from the clone."""
    copied = re.findall(r"^COPY (?!--from)(.+)$", dockerfile, re.MULTILINE)
    return ["Dockerfile", *(name for line in copied for name in line.split()[:-1])]


def make_files(root: Path, project: Mapping[str, Any], out: Path) -> list[Path]:
    """Make the files of a release of the commit that is checked out; return their paths, checksums last."""
    out.mkdir(parents=True, exist_ok=True)
    stem = f"{project['name']}-{project['version']}"
    wheel = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(out),
    ]
    subprocess.run([*wheel, str(root)], check=True)
    context, materials = out / f"{stem}-image.tar.gz", out / f"{stem}.cdx.json"
    names = image_context((root / "Dockerfile").read_text("utf-8"))
    _git(root, "archive", "--format=tar.gz", f"--output={context}", "HEAD", *names)
    chart = out / f"{stem}-chart.tgz"  # as `helm package` makes it: a folder of the chart's name
    _git(root, "archive", "--format=tar.gz", f"--prefix={project['name']}/", f"--output={chart}", f"HEAD:{CHART}")
    lock = (root / "requirements.lock").read_text("utf-8")
    materials.write_text(json.dumps(bill_of_materials(project, lock), indent=2) + "\n", "utf-8")
    made = [next(out.glob(f"{stem}-*.whl")), context, chart, materials]
    sums = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in made)
    (out / "SHA256SUMS").write_text(sums, "utf-8")
    return [*made, out / "SHA256SUMS"]


def _version(pin: Requirement) -> str:
    return next(iter(pin.specifier)).version


def _uncommitted(root: Path) -> Iterator[str]:
    if _git(root, "status", "--porcelain"):
        yield "the working tree has changes that are not committed"


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-c", "safe.directory=*", *arguments], cwd=root, check=True, capture_output=True, text=True
    ).stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
