"""What is shipped, what it needs, and that nothing in the lock gets in the way of the rooms' names."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from importlib.metadata import distribution, packages_distributions
from itertools import pairwise
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.paths import ROOT

ROOMS = ("evaluation", "hsnn", "indexer", "monitoring", "serving", "streaming", "trainer")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
OPTIONAL = {name: [text for text in texts if "hsnn" not in text] for name, texts in EXTRAS.items()}
SHIPPED = [*PROJECT["dependencies"], *OPTIONAL["arrow"], *OPTIONAL["train"]]
WANTED = [*SHIPPED, *OPTIONAL["evaluation"], *OPTIONAL["dev"]]
LOCK = [Requirement(line) for line in (ROOT / "requirements.lock").read_text().splitlines() if line.strip()]
HERE = [pin for pin in LOCK if pin.marker is None or pin.marker.evaluate()]


def source_files(room: str) -> set[str]:
    """Files of a room under the names that they have in the wheel; links are not followed."""
    found = (path.relative_to(ROOT) for path in (ROOT / room).rglob("*"))
    here = {path.as_posix() for path in found if "__pycache__" not in path.parts and (ROOT / path).is_file()}
    return here if room == "hsnn" else {f"hsnn/{name}" for name in here}


def test_the_rooms_are_the_packages() -> None:
    top = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"benchmarks", "tools"}
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


@pytest.mark.slow
def test_no_other_distribution_brings_the_import_name() -> None:
    brought = {canonicalize_name(name) for name in packages_distributions().get("hsnn", ())}
    assert brought <= {"hsnn"}


def test_every_room_is_a_link_of_the_one_package() -> None:
    links = {path.name: path.readlink().as_posix() for path in (ROOT / "hsnn").iterdir() if path.is_symlink()}
    assert links == {room: f"../{room}" for room in ROOMS if room != "hsnn"}


def test_every_dependency_is_explained() -> None:
    page = (ROOT / "docs" / "dependencies.md").read_text()
    for text in WANTED:
        assert f"| `{Requirement(text).name}` |" in page


def test_each_extra_includes_the_one_before() -> None:
    order = ("arrow", "train", "evaluation", "all", "dev")
    assert all(f"hsnn[{inner}]" in EXTRAS[outer] for inner, outer in pairwise(order))


def test_the_base_installation_has_no_large_package_that_a_server_does_not_need() -> None:
    base = {Requirement(text).name for text in PROJECT["dependencies"]}
    assert not base & {"torch", "scipy", "pyarrow", "river", "duckdb"}


def test_every_dependency_is_used() -> None:
    """A dependency that no file imports should go; those without an import are named here with the reason."""
    unimported = dict.fromkeys(("crc32c", "lz4", "python-snappy", "zstandard"), "picked up by kafka-python")
    unimported["hiredis"] = "picked up by redis-py"
    unimported |= dict.fromkeys(("httptools", "uvloop"), "picked up by uvicorn")
    module = {
        "kafka-python": "kafka",
        "prometheus-client": "prometheus_client",
        "pydantic-settings": "pydantic_settings",
    }
    code = "\n".join(path.read_text() for room in ROOMS for path in (ROOT / room).rglob("*.py"))
    for text in SHIPPED:
        name = Requirement(text).name
        if name not in unimported:
            assert re.search(rf"^\s*(?:import|from) {module.get(name, name)}\b", code, re.MULTILINE), name


def built(source: Path, out: Path) -> Path:
    """Build the wheel of the project in `source`, with the build tool that is installed here."""
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([sys.executable, "-c", build, str(out)], cwd=source, env=environ, capture_output=True, check=True)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def wheel_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy so that nothing is left in the clone."""
    copy = tmp_path_factory.mktemp("copy")
    for name in (*ROOMS, "tests", "benchmarks"):
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, copy / name)
    (copy / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "operations.md", copy / "docs")  # the console's package has a link to it
    return built(copy, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def wheel(wheel_file: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(wheel_file)


@pytest.mark.slow
def test_the_wheel_holds_the_rooms_whole_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    shipped = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert shipped == set().union(*(source_files(room) for room in ROOMS))
    assert {name.partition("/")[0] for name in shipped} == {"hsnn"}


@pytest.mark.slow
def test_the_wheel_brings_the_command(wheel: zipfile.ZipFile) -> None:
    entry = next(name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert "hsnn = hsnn.cli.app:main" in wheel.read(entry).decode()


SMALL_LEARNER = """
import sys
import numpy as np
import streaming
import hsnn
from hsnn.streaming.schema.batch import Batch

assert streaming.WHOSE == "another distribution", streaming
config = hsnn.Config().trainer
learner = hsnn.Learner(config)
events = [hsnn.Interaction(id=n, ts=1_700_000_000_000 + n, user=f"u{n % 3}", item=f"i{n % 5}", action="view")
          for n in range(50)]
with hsnn.EmbeddedRedis() as redis:
    from hsnn.streaming.log.base import ProducerRecord
    from hsnn.streaming.schema.events import encode
    log = hsnn.open_log(redis.url)
    log.create_topic("engagements", 1)
    for event in events:
        log.append("engagements", [ProducerRecord(b"u", encode(event))])
    log.flush()
    batch = hsnn.Consumer(log, hsnn.Config().streaming).next_batch(timeout=60.0)
    report = learner.train(learner.prepare(batch))
    log.close()
print("learned", report.events, "in", hsnn.__file__, sorted({name.partition(".")[0] for name in sys.modules} & {
    "trainer", "indexer", "serving", "monitoring", "evaluation"}))
"""


@pytest.fixture(scope="module")
def crowded_environment(wheel_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, and installed after it a distribution that brings a top-level `streaming`."""
    folder = tmp_path_factory.mktemp("crowded")
    foreign = folder / "foreign"
    (foreign / "streaming").mkdir(parents=True)
    (foreign / "streaming" / "__init__.py").write_text('WHOSE = "another distribution"\n')
    (foreign / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "another-streaming"\nversion = "1.0"\n[tool.setuptools]\npackages = ["streaming"]\n'
    )
    environment = folder / "environment"
    venv.create(environment, with_pip=False, symlinks=True)
    site = next((environment / "lib").glob("python*/site-packages"))
    # dependencies come from where these tests run; a line of a .pth file adds the folder, not the .pth files in it,
    # so the editable install of this clone stays out
    (site / "dependencies.pth").write_text(f"{Path(pytest.__file__).parents[1]}\n")
    for file in (wheel_file, built(foreign, folder / "wheel-of-another")):
        pip = [sys.executable, "-m", "pip", "--python", str(environment / "bin" / "python"), "install", "--quiet"]
        subprocess.run([*pip, "--no-deps", "--no-index", str(file)], check=True)
    return environment


@pytest.mark.slow
def test_a_foreign_package_called_streaming_does_not_break_an_installation(
    crowded_environment: Path, tmp_path: Path
) -> None:
    def run(*command: str) -> subprocess.CompletedProcess[str]:
        environ = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
        program = [str(crowded_environment / "bin" / command[0]), *command[1:]]
        return subprocess.run(program, capture_output=True, text=True, cwd=tmp_path, env=environ, check=False)

    learned = run("python", "-c", SMALL_LEARNER)
    assert learned.returncode == 0, learned.stderr
    assert re.fullmatch(rf"learned 50 in {crowded_environment}.*/hsnn/__init__.py \[\]\n", learned.stdout)
    examined = run("hsnn", "doctor")
    assert "torch" in examined.stdout, examined.stdout + examined.stderr
    assert "Traceback" not in examined.stderr
    assert run("python", "-m", "hsnn", "--help").returncode == 0
