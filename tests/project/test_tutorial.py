"""The tutorial works: its blocks run in their order, in an empty folder, as a new user would run them."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from hsnn.embedded.process import free_port
from tests.paths import ROOT
from tests.waiting import wait_until

PAGE = (ROOT / "docs" / "tutorial.md").read_text("utf-8")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "160", "NO_COLOR": "1"}

# Seconds after which it hangs: on two idle cores it takes about one minute.
LONGEST = 1200


def blocks() -> list[tuple[str, str]]:
    """Languages and texts of the blocks, in their order."""
    return re.findall(r"^```(python|sh)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def command(line: str) -> list[str]:
    """Return a command line of the page as this checkout runs it."""
    program, *arguments = shlex.split(line)
    assert program == "hsnn", line
    return [sys.executable, "-m", "hsnn", *arguments]


def run(line: str, folder: Path) -> str:
    done = subprocess.run(command(line), cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def ask(line: str, port: int) -> Any:
    """Send the request of a curl line to a port, until it is answered."""
    program, silent, url, data, body = shlex.split(line)
    assert (program, silent, data) == ("curl", "-s", "-d")

    answers: list[Any] = []

    def answered() -> bool:
        with suppress(httpx.TransportError):
            answer = httpx.post(url.replace(":8080", f":{port}"), content=body, timeout=60.0)
            if answer.status_code in (200, 202):
                answers.append(answer.json())
        return bool(answers)

    wait_until(answered, LONGEST)
    return answers[0]


@contextmanager
def running(line: str, folder: Path) -> Iterator[int]:
    """Run `hsnn up` on free ports while the block runs; yields the port of the server."""
    server, trainer, scheduler = (free_port() for _ in range(3))
    ports = {"serving.port": server, "monitoring.trainer_port": trainer, "monitoring.scheduler_port": scheduler}
    options = [part for key, port in ports.items() for part in ("--set", f"{key}={port}")]
    with (folder / "up.log").open("w") as log:
        process = subprocess.Popen(
            [*command(line), *options], cwd=folder, env=ENVIRONMENT, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            yield server
            process.send_signal(signal.SIGINT)
            assert process.wait(120) == 0, (folder / "up.log").read_text()
        finally:
            process.kill()
            process.wait()


# Longer than ten seconds, since it is the whole system, as a new user starts it.
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(LONGEST)
def test_from_a_folder_of_files_to_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENVIRONMENT, "HSNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    shown: dict[str, str] = {}
    for language, text in blocks():
        if language == "python":
            exec(compile(text, "tutorial.md", "exec"), {"__name__": "tutorial"})
            continue
        for line in text.splitlines():
            if line.startswith("hsnn up"):
                up = line
            elif not line.startswith("curl"):
                shown[line] = run(line, tmp_path)
    report = shown["hsnn data validate shop"]
    for text in ("read as cp1252", "decimal commas", "products.csv:202", "orders.csv:3002", "'tomorrow'", "3,000"):
        assert text in report
    assert "200 are described" in shown["hsnn data describe shop"]
    assert "popularity" in shown["hsnn evaluate --data shop --baselines popularity"]
    plain, filtered, similar, bought = [
        line for _, text in blocks() for line in text.splitlines() if line.startswith("curl")
    ]
    with running(up, tmp_path) as port:
        answer = ask(plain, port)
        assert len(answer["items"]) == 5
        titles = [features["title"].split('"')[1] for features in answer["features"]]
        assert titles == [str(int(item)) for item in answer["items"]]
        only = ask(filtered, port)
        assert {int(item) % 4 for item in only["items"]} == {2}  # the third kind, Topf
        assert all(
            features["title"].startswith("Topf") and 0 < features["price"] <= 900 and int(features["stock"]) > 0
            for features in only["features"]
        )
        like = ask(similar, port)
        assert len(like["items"]) == 3
        assert "00002" not in like["items"]
        assert all('"' in features["title"] for features in like["features"])
        everything = plain.replace('"k": 5', '"k": 200')
        assert "00002" in ask(everything, port)["items"]
        ask(bought, port)
        wait_until(lambda: "00002" not in ask(everything, port)["items"], LONGEST)


def test_every_format_is_named() -> None:
    from hsnn.streaming.datasets.imported.formats import FORMATS

    for name in FORMATS:
        assert f"`{name}`" in PAGE.replace("--format gorse", "gorse"), name


def test_every_field_of_a_map_is_named() -> None:
    from hsnn.streaming.datasets.imported.mapping import TableMap

    for name in TableMap.__struct_fields__:
        assert f"`{name}`" in PAGE, name
