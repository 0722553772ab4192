"""One file added to a package, as somebody adds an extension."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from textwrap import dedent

import pytest


@contextmanager
def one_file_added(package: str, folder: Path, name: str, text: str) -> Iterator[None]:
    """Let `package` have a module `name`, which lies in `folder`; nothing else changes."""
    (folder / f"{name}.py").write_text(dedent(text), "utf-8")
    owner = import_module(package)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(owner, "__path__", [*owner.__path__, str(folder)])
            yield
    finally:
        sys.modules.pop(f"{package}.{name}", None)
        vars(owner).pop(name, None)
