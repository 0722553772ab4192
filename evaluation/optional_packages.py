"""Import of the packages that only the extra `evaluation` installs."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from hsnn.evaluation.errors import MissingPackageError


def import_optional(module: str, needed_by: str, name: str | None = None) -> Any:
    """Import a module of the extra `evaluation`; `name` is its package where that differs from `module`.

    Raises
    ------
    MissingPackageError
        It is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingPackageError(
            f"{needed_by} needs {name or module}, which is not installed: pip install 'hsnn[evaluation]', "
            "or leave it out"
        ) from error
