"""Wall clocks of the processes, which can be set while they run, by a small library that is loaded into them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

HOUR, TWO_DAYS = 3600, 172_800
"""Seconds by which clocks are set."""
SHIFTS = (HOUR, -HOUR, TWO_DAYS, -TWO_DAYS)
_SOURCE = Path(__file__).with_name("wall_clock.c")


def compile_library(folder: Path) -> Path | None:
    """Compile the library into a folder; None: there is no C compiler here.

    Raises
    ------
    subprocess.CalledProcessError
        It cannot be compiled; the compiler says why.
    """
    if (compiler := shutil.which("cc")) is None:
        return None
    library = folder / "wall_clock.so"
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(_SOURCE)], check=True)
    return library


class Clock:
    """The wall clock of one process.

    Parameters
    ----------
    file
        Holds the offset; the process has it mapped.
    library
        What `compile_library` returned; None: the clock cannot be set.
    """

    def __init__(self, file: Path, library: Path | None) -> None:
        self._file, self._library = file, library
        file.write_bytes(bytes(8))

    @property
    def environment(self) -> dict[str, str | None]:
        """Variables for the process that goes by this clock."""
        return {} if self._library is None else {"LD_PRELOAD": str(self._library), "CHAOS_CLOCK": str(self._file)}

    def set(self, seconds: int) -> None:
        """Put the clock so far ahead of the machine's, or behind it, as of now."""
        file = os.open(self._file, os.O_WRONLY)
        os.pwrite(file, seconds.to_bytes(8, "little", signed=True), 0)
        os.close(file)
