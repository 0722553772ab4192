"""`hsnn config`: the written file, and what is shown."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from hsnn.cli.app import application, main


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


def test_config_init_writes_once(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert invoke("config", "init", "my.toml").exit_code == 0
    assert "[trainer.model]" in Path("my.toml").read_text()
    again = run(capsys, monkeypatch, "config", "init", "my.toml")
    assert again == (2, "hsnn: my.toml exists already; name another file or remove it first\n")
    nowhere = run(capsys, monkeypatch, "config", "init", "no/such/folder/my.toml")
    assert nowhere == (2, "hsnn: cannot write no/such/folder/my.toml: No such file or directory\n")


def test_config_show_names_sources_and_hides_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("other.toml").write_text("[trainer]\nseed = 5\n")
    monkeypatch.setenv("HSNN_REDIS__URL", "redis://:pa55@somewhere:6379/0")
    done = invoke("config", "show", "--config", "other.toml", "--set", "streaming.partitions=3")
    assert done.exit_code == 0
    assert "seed = 5  # other.toml" in done.stdout
    assert "partitions = 3  # --set" in done.stdout
    assert 'url = "redis://:***@somewhere:6379/0"  # HSNN_REDIS__URL' in done.stdout
    assert "pa55" not in done.output
