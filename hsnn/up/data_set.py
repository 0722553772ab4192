"""The data set that a folder was filled with, once."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from hsnn.monitoring.errors import HsnnError


class OtherDataError(HsnnError):
    """The folder holds other events than those asked for."""


class LoadedData(msgspec.Struct, frozen=True):
    """What was loaded.

    Attributes
    ----------
    name : as in ``--data``
    expire_after_idle : suggestion of the data set, seconds
    finished : False while events are sent, and after an interruption
    """

    name: str
    expire_after_idle: float | None = None
    finished: bool = False


class DataRecord:
    """Remembers in a file what a folder was filled with.

    Parameters
    ----------
    folder
        Of ``hsnn up``.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "data.json"

    def read(self) -> LoadedData | None:
        """Return what was loaded; None if nothing was."""
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=LoadedData)
        except FileNotFoundError:
            return None

    def write(self, data: LoadedData) -> None:
        """Replace what is remembered."""
        aside = self._file.with_suffix(".new")
        aside.write_bytes(msgspec.json.encode(data))
        os.replace(aside, self._file)

    def must_load(self, name: str, *, holds_events: bool) -> bool:
        """Return whether a data set has to be sent: not if that was done.

        Raises
        ------
        OtherDataError
            There are events of another data set, or of the user's own.
        """
        known = self.read()
        if known is not None and known.name == name:
            return not known.finished
        if known is not None or holds_events:
            what = f"the data set {known.name}" if known else "events"
            raise OtherDataError(
                f"{self._file.parent} holds {what} already, and {name} belongs to another catalogue; name a folder of "
                "its own with --folder, or leave --data out"
            )
        return True
