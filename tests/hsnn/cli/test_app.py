"""The command line: quick help, the common options, errors in one sentence, and what each command hands on."""

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

from hsnn.cli.app import ELSEWHERE, application, main
from hsnn.cli.doctor import crc32c, examine
from hsnn.cli.error_messages import sentence
from hsnn.config.schema import Config
from hsnn.monitoring.errors import HsnnError
from tests.paths import ROOT

HEAVY = ("torch", "pydantic", "numpy", "redis", "pyarrow", "rich", "prometheus_client", "asyncio")


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in list(os.environ):
        if variable.startswith("HSNN_"):
            monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)
    # rich would wrap what it prints at the width of a terminal that is not there
    monkeypatch.setenv("COLUMNS", "200")


def call(*arguments: str) -> Result:
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

    walk(typer.main.get_command(application(list(ELSEWHERE))), ("hsnn",))


def test_config_init_writes_once(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert call("config", "init", "my.toml").exit_code == 0
    assert "[trainer.model]" in Path("my.toml").read_text()
    again = run(capsys, monkeypatch, "config", "init", "my.toml")
    assert again == (2, "hsnn: my.toml exists already; name another file or remove it first\n")
    nowhere = run(capsys, monkeypatch, "config", "init", "no/such/folder/my.toml")
    assert nowhere == (2, "hsnn: cannot write no/such/folder/my.toml: No such file or directory\n")


def test_config_show_names_sources_and_hides_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("other.toml").write_text("[trainer]\nseed = 5\n")
    monkeypatch.setenv("HSNN_REDIS__URL", "redis://:pa55@somewhere:6379/0")
    done = call("config", "show", "--config", "other.toml", "--set", "streaming.partitions=3")
    assert done.exit_code == 0
    assert "seed = 5  # other.toml" in done.stdout
    assert "partitions = 3  # --set" in done.stdout
    assert 'url = "redis://:***@somewhere:6379/0"  # HSNN_REDIS__URL' in done.stdout
    assert "pa55" not in done.output


def test_a_mistake_is_one_sentence_without_a_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = run(capsys, monkeypatch, "train", "--set", "trainer.seeed=1")
    assert ended == (2, "hsnn: --set: no configuration key is called trainer.seeed; did you mean trainer.seed?\n")
    status, said = run(capsys, monkeypatch, "data", "describe", "no-such-data")
    assert status != 0
    assert "no-such-data" in said
    assert "Traceback" not in said


def test_a_redis_that_is_not_there_is_said_in_a_sentence() -> None:
    for error in (
        redis.ConnectionError("refused"),
        redis.TimeoutError("refused"),
        redis.AuthenticationError("refused"),
    ):
        said = sentence(error)
        assert said is not None
        assert said.startswith("Redis cannot be used: refused")


def test_faults_of_the_program_keep_their_traceback() -> None:
    assert sentence(HsnnError("say this")) == "say this"
    assert sentence(ZeroDivisionError("a fault")) is None


@pytest.mark.parametrize(
    ("command", "runner", "expected"),
    [
        (
            "train",
            "hsnn.trainer.online.loop.run",
            lambda c: (c.trainer, c.streaming, c.monitoring, c.redis.url, c.digest()),
        ),
        ("schedule", "hsnn.indexer.jobs.scheduler.run", lambda c: (c.indexer, c.monitoring, c.redis.url)),
        ("serve", "hsnn.serving.api.server.run", lambda c: (c.serving, c.redis.url, None, c.monitoring.stalled_after)),
    ],
)
def test_each_role_gets_its_part_of_the_configuration(
    command: str, runner: str, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Autospec: the call must also fit the role's own signature."""
    from unittest.mock import create_autospec

    module, _, name = runner.rpartition(".")
    imported = __import__(module, fromlist=[name])
    fake = create_autospec(getattr(imported, name))
    monkeypatch.setattr(imported, name, fake)
    done = call(command, "--set", "redis.url=redis://elsewhere:1/2")
    assert done.exit_code == 0, done.output
    chosen = Config(redis={"url": "redis://elsewhere:1/2"})
    assert fake.call_args.args == expected(chosen)


def test_doctor_finds_what_is_there_and_what_is_not(redis_server: str, tmp_path: Path) -> None:
    good = Config(redis={"url": redis_server}, streaming={"log": redis_server})
    states = {finding.name: finding.state for finding in examine(good)}
    assert {states[name] for name in ("python", "torch", "crc32c", "redis", "log", "disk")} == {"ok"}
    away = "redis://:pa55@127.0.0.1:1/0"
    bad = Config(redis={"url": away}, streaming={"log": away}, trainer={"threads": 4096})
    found = {finding.name: finding for finding in examine(bad)}
    assert (found["redis"].state, found["log"].state, found["threads"].state) == ("fail", "fail", "warn")
    assert not any("pa55" in finding.text for finding in found.values())


def test_doctor_complains_loudly_without_crc32c(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "crc32c", None)
    found = crc32c(Config())
    assert found.state == "fail"
    assert "3 to 20 times slower" in found.text


def test_doctor_command_fails_if_a_check_does(redis_server: str) -> None:
    fine = ("--set", f"redis.url={redis_server}", "--set", f"streaming.log={redis_server}")
    assert call("doctor", *fine).exit_code == 0
    bad = call("doctor", "--set", "redis.url=redis://127.0.0.1:1/0", "--set", f"streaming.log={redis_server}")
    assert bad.exit_code == 1
    assert "fail" in bad.stdout


def test_version() -> None:
    assert call("version").stdout.startswith("hsnn 0.")
