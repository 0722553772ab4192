"""The tutorial works: its blocks run in their order, in an empty folder, as a new user would run them."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.paths import ROOT

PAGE = (ROOT / "docs" / "tutorial.md").read_text("utf-8")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "160", "NO_COLOR": "1"}

# Seconds after which it hangs: on two idle cores it takes about one minute.
LONGEST = 1200


def blocks() -> list[tuple[str, str]]:
    """Languages and texts of the blocks, in their order."""
    return re.findall(r"^```(python|sh|text)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def command(line: str) -> list[str]:
    """Return a command line of the page as this checkout runs it."""
    program, *arguments = shlex.split(line)
    assert program == "hsnn", line
    return [sys.executable, "-m", "hsnn", *arguments]


def run(line: str, folder: Path) -> str:
    done = subprocess.run(command(line), cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def serve(line: str, folder: Path) -> str:
    """Run a command until it prints how to ask it, ask, interrupt it; return what it printed and answered."""
    shown: list[str] = []
    with subprocess.Popen(
        command(line), cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            assert process.stdout is not None
            for text in process.stdout:
                shown.append(text)
                if found := re.match(r"curl -s (http\S+) -d '(.*)'", text):
                    answer = httpx.post(found[1], content=found[2], timeout=30.0)
                    answer.raise_for_status()
                    shown.append(json.dumps(answer.json()["items"]))
                    break
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
    assert any(text.startswith("curl -s") for text in shown), "".join(shown)
    return "".join(shown)


# Longer than ten seconds, since it is the whole system, as a new user starts it.
@pytest.mark.slow
@pytest.mark.timeout(LONGEST)
def test_from_a_folder_of_files_to_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENVIRONMENT, "HSNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    shown: dict[str, str] = {}
    for language, text in blocks():
        if language == "python":
            exec(compile(text, "tutorial.md", "exec"), {"__name__": "tutorial"})
        elif language == "sh":
            for line in text.splitlines():
                shown[line] = serve(line, tmp_path) if "--keep" in line else run(line, tmp_path)
    report = shown["hsnn data validate shop"]
    for text in ("read as cp1252", "decimal commas", "products.csv:202", "orders.csv:3002", "'tomorrow'", "3,000"):
        assert text in report
    assert "200 are described" in shown["hsnn data describe shop"]
    assert "popularity" in shown["hsnn evaluate --data shop --baselines popularity"]
    demo = shown["hsnn demo --data shop --keep"]
    assert re.search(r'(Krug|Löffel|Topf|Vase) "\d+"; blau', demo), demo
    assert len(json.loads(demo.splitlines()[-1])) == 5


def test_every_format_is_named() -> None:
    from hsnn.streaming.datasets.imported.formats import FORMATS

    for name in FORMATS:
        assert f"`{name}`" in PAGE.replace("--format gorse", "gorse"), name


def test_every_field_of_a_map_is_named() -> None:
    from hsnn.streaming.datasets.imported.mapping import TableMap

    for name in TableMap.__struct_fields__:
        assert f"`{name}`" in PAGE, name
