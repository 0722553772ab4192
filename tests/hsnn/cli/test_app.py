"""The command line: quick help, the common options, errors in one sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis
import typer
from typer.testing import CliRunner, Result

from hsnn.cli.app import COMMANDS, application, main
from hsnn.monitoring.errors import user_message
from tests.base_installation import BASE_INSTALLATION
from tests.paths import ROOT

HEAVY = ("torch", "pydantic", "numpy", "redis", "pyarrow", "rich", "prometheus_client", "asyncio")


@pytest.fixture(autouse=True)
def _without_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in list(os.environ):
        if variable.startswith("HSNN_"):
            monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)
    # rich would wrap what it prints at the width of a terminal that is not there
    monkeypatch.setenv("COLUMNS", "200")


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(application(arguments), list(arguments), prog_name="hsnn")


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[Any, str]:
    """Exit status and standard error of the command as its users start it."""
    monkeypatch.setattr(sys, "argv", ["hsnn", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code, capsys.readouterr().err


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from hsnn.cli.app import main; sys.argv = ['hsnn', '--help']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print('heavy:', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    root = str(ROOT)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=root, timeout=60, check=True
    )
    assert "heavy: []" in done.stdout
    for command in (
        "train",
        "schedule",
        "serve",
        "produce",
        "data",
        "config",
        "doctor",
        "upgrade",
        "version",
        "kafka",
        "evaluate",
        "checkpoint",
        "dlq",
    ):
        assert f"\n  {command}" in done.stdout


def test_every_command_explains_itself_and_its_options() -> None:
    def walk(command: Any, path: tuple[str, ...]) -> None:
        for name, inner in getattr(command, "commands", {}).items():
            assert inner.help, " ".join((*path, name))
            for option in inner.params:
                assert getattr(option, "help", None), f"{' '.join((*path, name))}: {option.name}"
            walk(inner, (*path, name))

    walk(typer.main.get_command(application(list(COMMANDS))), ("hsnn",))


def test_a_mistake_is_one_sentence_without_a_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = run(capsys, monkeypatch, "train", "--set", "trainer.seeed=1")
    assert ended == (2, "hsnn: --set: no configuration key is called trainer.seeed; did you mean trainer.seed?\n")
    status, said = run(capsys, monkeypatch, "data", "describe", "no-such-data")
    assert status != 0
    assert "no-such-data" in said
    assert "Traceback" not in said


def test_a_redis_that_is_not_there_is_said_in_a_user_message() -> None:
    for error in (
        redis.ConnectionError("refused"),
        redis.TimeoutError("refused"),
        redis.AuthenticationError("refused"),
    ):
        said = user_message(error)
        assert said is not None
        assert said.startswith("Redis cannot be used: refused")


IMPORT_EACH = """
from importlib import import_module
from hsnn.cli.app import COMMANDS, main

def lacks(module):
    try:
        import_module(module)
    except ModuleNotFoundError:
        return True

print(*(name for name, command in sorted(COMMANDS.items()) if lacks(command.module)))
sys.argv = ["hsnn", "demo"]
main()
"""


@pytest.mark.slow
def test_a_base_installation_has_the_commands_that_need_neither_model_nor_data_set() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BASE_INSTALLATION + IMPORT_EACH], capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout.split() == ["data", "demo", "evaluate", "produce", "up"]
    assert done.returncode == 2
    assert "pip install 'hsnn[all]'" in done.stderr, "all at once, not first what is imported first"


def test_version() -> None:
    assert invoke("version").stdout.startswith("hsnn 0.")
