"""What is shipped, what it needs, and that nothing in the lock gets in the way of the rooms' names."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from hsnn.errors import ROOMS

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
WANTED = (*PROJECT["dependencies"], *EXTRAS["evaluation"], *(text for text in EXTRAS["dev"] if "hsnn" not in text))
LOCK = [Requirement(line) for line in (ROOT / "requirements.lock").read_text().splitlines() if line.strip()]
HERE = [pin for pin in LOCK if pin.marker is None or pin.marker.evaluate()]


def source_files(room: str) -> set[str]:
    found = (path.relative_to(ROOT) for path in (ROOT / room).rglob("*"))
    return {path.as_posix() for path in found if "__pycache__" not in path.parts and (ROOT / path).is_file()}


def test_the_rooms_are_the_packages() -> None:
    top = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert top == set(ROOMS)
    assert all((ROOT / room / "py.typed").exists() for room in ROOMS)


def test_the_lock_pins_exactly_and_names_no_host() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert not re.search(r"https?://|--(?:extra-)?index|--find-links|@ ", text)
    for pin in LOCK:
        assert [specifier.operator for specifier in pin.specifier] == ["=="], str(pin)


def test_the_lock_covers_what_the_project_asks_for() -> None:
    pinned = {canonicalize_name(pin.name): pin for pin in LOCK}
    for text in (*WANTED, "setuptools>=80"):
        wanted = Requirement(text)
        pin = pinned[canonicalize_name(wanted.name)]
        version = next(iter(pin.specifier)).version
        assert wanted.specifier.contains(version), f"{wanted} against {pin}: write the lock anew with `make lock`"
    assert str(next(iter(pinned["torch"].specifier))) == "==2.13.0"


def test_what_is_installed_is_what_is_pinned() -> None:
    differing = {}
    for pin in HERE:
        found = distribution(pin.name).version
        if not pin.specifier.contains(found, prereleases=True):
            differing[pin.name] = found
    assert differing == {}


def test_no_other_distribution_brings_a_rooms_name() -> None:
    brought = packages_distributions()
    locked = {canonicalize_name(pin.name) for pin in HERE}
    for room in ROOMS:
        others = {canonicalize_name(name) for name in brought.get(room, ())} - {"hsnn"}
        assert not others & locked, f"{room} is also a module of {others}"


def test_every_dependency_is_explained() -> None:
    page = (ROOT / "docs" / "dependencies.md").read_text()
    for text in WANTED:
        assert f"| `{Requirement(text).name}` |" in page


def test_development_includes_evaluation() -> None:
    assert "hsnn[evaluation]" in EXTRAS["dev"]


def test_every_dependency_is_used() -> None:
    """A dependency that no file imports should go; those without an import are named here with the reason."""
    unimported = {"hiredis": "picked up by redis-py", "crc32c": "picked up by kafka-python"}
    module = {
        "kafka-python": "kafka",
        "prometheus-client": "prometheus_client",
        "pydantic-settings": "pydantic_settings",
    }
    code = "\n".join(path.read_text() for room in ROOMS for path in (ROOT / room).rglob("*.py"))
    for text in PROJECT["dependencies"]:
        name = Requirement(text).name
        if name not in unimported:
            assert re.search(rf"^\s*(?:import|from) {module.get(name, name)}\b", code, re.MULTILINE), name


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built from a copy so that nothing is left in the clone."""
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("wheel")
    for name in (*ROOMS, "tests"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, copy / name)
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([sys.executable, "-c", build, str(out)], cwd=copy, env=environ, capture_output=True, check=True)
    return zipfile.ZipFile(next(out.glob("*.whl")))


@pytest.mark.slow
def test_the_wheel_holds_the_rooms_whole_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    shipped = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert shipped == set().union(*(source_files(room) for room in ROOMS))


@pytest.mark.slow
def test_the_wheel_brings_the_command(wheel: zipfile.ZipFile) -> None:
    entry = next(name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert "hsnn = hsnn.cli:main" in wheel.read(entry).decode()
