"""An environment without configuration variables, and a way to write a configuration file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _without_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the `hsnn.toml` and the variables of whoever runs the tests."""
    for variable in list(os.environ):
        if variable.startswith("HSNN_"):
            monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)


def write_config(folder: Path, text: str, name: str = "hsnn.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path
