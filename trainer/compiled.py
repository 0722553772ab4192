"""Compilation of kernels to machine code with numba, where it can be imported."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar, cast

Kernel = TypeVar("Kernel", bound=Callable[..., Any])

try:
    from numba import njit
except ImportError as _error:  # the reference path needs none
    _missing = str(_error)
else:
    _missing = ""

COMPILED = not _missing
"""Whether kernels are compiled; otherwise they are plain functions, which are slow."""

# Sums may be reordered, so that they use vector instructions; infinities and their comparison stay as they are.
_FAST_MATH = {"reassoc", "contract", "arcp", "nsz"}


def compiled(kernel: Kernel) -> Kernel:
    """Compile a function at its first call, to code that holds no interpreter lock; the code is kept on disk.

    Without numba the function stays as it is, and `engine_available` says no.
    """
    return _compiled(kernel, fastmath=_FAST_MATH)


def compiled_in_order(kernel: Kernel) -> Kernel:
    """Compile a function as `compiled` does, but so that it adds and rounds as it is written: NumPy's own bits."""
    return _compiled(kernel, fastmath=False)


def _compiled(kernel: Kernel, *, fastmath: set[str] | bool) -> Kernel:
    if _missing:
        return kernel
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": fastmath}
    try:
        return cast(Kernel, njit(cache=True, **options)(kernel))
    except RuntimeError:  # neither the installation nor a home folder can be written to: compiled at every start
        return cast(Kernel, njit(**options)(kernel))


def engine_available() -> bool:
    """Whether kernels are compiled; if not, a log line says why, and the reference path answers."""
    if _missing:
        logging.getLogger(__name__).warning(
            "numba cannot be imported (%s): requests are answered by the reference path, which is slower;"
            " install the package numba",
            _missing,
        )
    return not _missing
