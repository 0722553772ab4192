"""Set-up happens once, anywhere, and says what it does; CI runs what the README names. Python is a stand-in here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.paths import ROOT

TOOLS = ("sh", "bash", "cat", "cksum", "dirname", "env", "expand", "find", "make", "mkdir", "cp", "mktemp", "rm", "sed")
TOOLS += ("tee", "uname")
PYTHON = """#!/bin/sh
echo "$*" >>"$CALLS"
case "$1 ${2-}" in
    "--version ") echo "Python 3.11.9" ;;
    "-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
esac
"""


def executable(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


class Clone:
    """A clone in a folder with spaces, and a machine with nothing but a few tools and a Python that notes its calls."""

    def __init__(self, folder: Path) -> None:
        self.root, self.bin, self._calls = folder / "my own clone", folder / "bin", folder / "calls"
        (self.root / "deploy").mkdir(parents=True)
        (self.root / ".ci").mkdir()
        self.bin.mkdir()
        for name in ("Makefile", "pyproject.toml", "requirements.lock", "deploy/setup.sh", ".ci/run"):
            shutil.copy(ROOT / name, self.root / name)
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool) or pytest.fail(f"no {tool} here"))
        executable(self.bin / "python3.11", PYTHON)

    def run(self, *command: str, **variables: str) -> tuple[int, str, list[str]]:
        """Exit status, output, and what was asked of Python other than to say its version or nothing."""
        self._calls.write_text("")
        environ = {"PATH": str(self.bin), "CALLS": str(self._calls), "HOME": str(self.root), **variables}
        done = subprocess.run(command, cwd=self.root, env=environ, capture_output=True, text=True, check=False)
        calls = [call for call in self._calls.read_text().splitlines() if call.startswith("-m ")]
        return done.returncode, done.stdout + done.stderr, calls


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


def test_set_up_happens_once(clone: Clone) -> None:
    status, said, calls = clone.run("make", "setup")
    assert status == 0
    assert "Setting up .venv with Python 3.11.9" in said
    assert calls == [
        "-m venv .venv",
        "-m pip install --quiet --disable-pip-version-check -r requirements.lock",
        "-m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .",
    ]
    assert clone.run("make", "setup") == (0, "", [])


@pytest.mark.parametrize("changed", ["requirements.lock", "pyproject.toml"])
def test_it_happens_again_when_what_is_needed_changes(clone: Clone, changed: str) -> None:
    clone.run("make", "setup")
    with (clone.root / changed).open("a") as file:
        file.write("# changed\n")
    assert len(clone.run("make", "setup")[2]) == 2
    assert clone.run("make", "setup")[2] == []


def test_it_happens_again_after_a_failure_or_a_move(clone: Clone) -> None:
    executable(clone.bin / "python3.11", PYTHON + 'case "$*" in *--editable*) exit 7 ;; esac\n')
    assert clone.run("make", "setup")[0] != 0
    executable(clone.root / ".venv" / "bin" / "python", PYTHON)
    assert clone.run("make", "setup")[0] == 0
    clone.root = clone.root.rename(clone.root.with_name("moved elsewhere"))
    _, said, calls = clone.run("make", "setup")
    assert len(calls) == 2
    assert "was set up for" in said, "an environment that served another folder serves this one from now on"
    assert f"runs the code of {clone.root}" in said


def test_another_virtual_environment_may_be_named(clone: Clone, tmp_path: Path) -> None:
    elsewhere = str(tmp_path / "an other venv")
    assert clone.run("make", "setup", HSNN_VENV=elsewhere)[2][0] == f"-m venv {elsewhere}"
    assert clone.run("make", "test", "ARGS=-x", HSNN_VENV=elsewhere)[2] == ["-m pytest -n 3 --dist worksteal -x"]
    assert not (clone.root / ".venv").exists()


def test_an_environment_of_another_clone_is_not_taken_unless_told(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        folder.mkdir()
    first, second = map(Clone, folders)
    shared = str(tmp_path / "shared")
    assert first.run("make", "setup", HSNN_VENV=shared)[0] == 0
    status, said, calls = second.run("make", "test", HSNN_VENV=shared)
    assert status != 0
    assert calls == [], "nothing is installed and no test is run"
    assert f"{shared} belongs to another clone, {first.root.resolve()}" in said
    assert "HSNN_VENV_TAKE=1" in said
    assert first.run("make", "setup", HSNN_VENV=shared) == (0, "", []), "it is still the first one's"
    status, said, _ = second.run("make", "setup", HSNN_VENV=shared, HSNN_VENV_TAKE="1")
    assert status == 0
    assert f"runs the code of {second.root.resolve()}" in said
    assert second.run("make", "setup", HSNN_VENV=shared) == (0, "", [])
    assert first.run("make", "setup", HSNN_VENV=shared)[0] != 0


def test_an_unfinished_set_up_has_an_owner_too(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        folder.mkdir()
    first, second = map(Clone, folders)
    shared = str(tmp_path / "shared")
    executable(first.bin / "python3.11", PYTHON + 'case "$*" in *--editable*) exit 7 ;; esac\n')
    assert first.run("make", "setup", HSNN_VENV=shared)[0] != 0
    status, said, _ = second.run("make", "setup", HSNN_VENV=shared)
    assert status != 0
    assert "belongs to another clone" in said


def test_an_old_python_is_passed_over_and_none_at_all_is_said(clone: Clone) -> None:
    (clone.bin / "python3.11").rename(clone.bin / "python3")
    assert clone.run("make", "setup")[0] == 0
    shutil.rmtree(clone.root / ".venv")
    executable(clone.bin / "python3", "#!/bin/sh\nexit 1\n")
    status, said, _ = clone.run("make", "setup")
    assert status != 0
    assert "hsnn needs Python 3.11 or newer" in said


@pytest.mark.parametrize(
    ("target", "calls"),
    [
        ("demo", ["-m hsnn demo --log kafka"]),
        ("test", ["-m pytest -n 3 --dist worksteal --log kafka"]),
        ("test-fast", ["-m pytest -n 3 --dist worksteal -m not slow and not kafka --log kafka"]),
        ("crash-test", ["-m benchmarks.crash --log kafka"]),
        ("release", ["-m tools.release --log kafka"]),
        ("kafka", ["-m hsnn kafka start --log kafka"]),
        ("docs-site", ["-m mkdocs build --quiet --log kafka"]),
        ("screenshots", ["-m tools.screenshots --log kafka"]),
        (
            "docs",
            [
                "-m hsnn.config.render docs/configuration.md",
                "-m benchmarks.tables",
                "-m tools.api_reference docs/api.md",
            ],
        ),
    ],
)
def test_targets_set_up_first_say_what_they_do_and_pass_arguments_on(
    clone: Clone, target: str, calls: list[str]
) -> None:
    status, said, made = clone.run("make", target, "ARGS=--log kafka")
    assert status == 0
    assert made[3:] == calls  # after the three of the set-up
    assert len(said.splitlines()) >= 2


def test_help_explains_every_target(clone: Clone) -> None:
    _, said, calls = clone.run("make")
    targets = set(re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split())
    assert set(re.findall(r"^  make ([a-z-]+) +\S", said, re.MULTILINE)) == targets
    assert calls == []


NO_REDIS = "Redis to test against: none, and none could be installed; those tests are skipped"
NO_BROWSER = "Browser to test in: none, and none could be installed; those tests are skipped"
APT = """#!/bin/sh
[ "$1" = install ] || exit 0
for name in redis-server chromium; do
  case "$*" in *$name*) printf '#!/bin/sh\\necho a server' >"$BIN/$name" && /bin/chmod +x "$BIN/$name" ;; esac
done
"""


@pytest.mark.parametrize(
    ("tools", "kafka", "redis", "browser"),
    [
        ({}, "", "", ""),
        ({"mvn": "#!/bin/sh\n"}, "1", "", ""),
        ({"redis-server": "#!/bin/sh\necho a server\n"}, "", "1", ""),
        ({"chromium": "#!/bin/sh\necho a server\n"}, "", "", "1"),
        ({"apt-get": APT, "id": "#!/bin/sh\necho 0\n"}, "", "1", "1"),
        ({"apt-get": "#!/bin/sh\nexit 1\n", "id": "#!/bin/sh\necho 0\n"}, "", "", ""),
        ({"apt-get": APT, "id": "#!/bin/sh\necho 1000\n"}, "", "", ""),
    ],
)
def test_ci_runs_the_whole_suite_and_wants_the_servers_that_can_be_had(
    clone: Clone, tools: dict[str, str], kafka: str, redis: str, browser: str
) -> None:
    (clone.bin / "make").unlink()
    show = "REQUIRE_KAFKA=${REQUIRE_KAFKA-} REQUIRE_REDIS=${REQUIRE_REDIS-} REDIS_SERVER=${REDIS_SERVER-}"
    show += " REQUIRE_BROWSER=${REQUIRE_BROWSER-}"
    executable(clone.bin / "make", f'#!/bin/sh\necho "make $* with {show}"\n')
    for tool, text in tools.items():
        executable(clone.bin / tool, text)
    status, said, _ = clone.run("bash", ".ci/run", BIN=str(clone.bin))
    server = str(clone.bin / "redis-server") if redis else ""
    about = "Redis to test against: a server" if redis else NO_REDIS
    seen = "Browser to test in: a server" if browser else NO_BROWSER
    wanted = f"make test with REQUIRE_KAFKA={kafka} REQUIRE_REDIS={redis} REDIS_SERVER={server}"
    wanted += f" REQUIRE_BROWSER={browser}"
    assert (status, said.splitlines()) == (0, [about, seen, wanted])


def test_nothing_names_a_registry() -> None:
    files = ("Makefile", "deploy/setup.sh", ".ci/run", "Dockerfile", "pyproject.toml", "requirements.lock")
    for name in files:
        assert not re.search(r"--(?:extra-)?index-url|https?://", (ROOT / name).read_text()), name


def test_scripts_are_executable() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
