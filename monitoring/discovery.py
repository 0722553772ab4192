"""Extensions that are found by their file: every module of a package is one, called as its file."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from types import ModuleType


def module_names(package: str) -> tuple[str, ...]:
    """List the modules of a package in alphabetical order, without importing them.

    Examples
    --------
    >>> module_names("hsnn.monitoring.drift")
    ('loss', 'mix')
    """
    return tuple(sorted(info.name for info in pkgutil.iter_modules(import_module(package).__path__)))


def load_modules(package: str) -> dict[str, ModuleType]:
    """Import the modules of a package, by name in alphabetical order."""
    return {name: import_module(f"{package}.{name}") for name in module_names(package)}
