"""Style, types and who imports whom, as `make lint` checks them; here so that CI does, too."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.paths import ROOT

LINT_IMPORTS = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(
    "command",
    [
        ("-m", "ruff", "check", "."),
        ("-m", "ruff", "format", "--check", "."),
        ("-m", "mypy"),
        ("-c", LINT_IMPORTS),
        ("-m", "tools.house_rules"),
    ],
    ids=["ruff check", "ruff format", "mypy", "import-linter", "house rules"],
)
def test_no_complaint(command: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
