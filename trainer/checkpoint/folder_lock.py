"""FolderLock: one process writes a folder of checkpoints."""

from __future__ import annotations

import fcntl
import logging
import os
import time
from pathlib import Path

from hsnn.trainer.errors import CheckpointError, OwnershipError

_log = logging.getLogger(__name__)

LOCK_FILE = "trainer.lock"
"""Name of the file in the folder; it holds the name of the process that has, or had, the lock."""

# Seconds between two attempts.
_POLL_SECONDS = 0.1


class FolderLock:
    """An advisory lock on a folder; the system frees it when its process ends, however that ends.

    Parameters
    ----------
    folder
        Made if absent.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     first = FolderLock(Path(folder))
    ...     first.acquire(0.0)
    ...     first.note_owner("host/1")
    ...     FolderLock(Path(folder)).acquire(0.0)
    Traceback (most recent call last):
    ...
    hsnn.trainer.errors.OwnershipError: ... is in use by the trainer host/1; stop it, or set trainer.checkpoint_dir ...
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK_FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise CheckpointError(
                f"checkpoints cannot be written in {folder}: {error.strerror}; "
                "give this user the right to write there, or set trainer.checkpoint_dir to another folder"
            ) from error
        self.previous_owner = ""

    def acquire(self, seconds: float) -> None:
        """Wait up to `seconds` for the lock; `previous_owner` then names the process that had it before.

        Raises
        ------
        OwnershipError
            Another process has it.
        """
        deadline, told = time.monotonic() + seconds, False
        while not self._try():
            if time.monotonic() >= deadline:
                raise OwnershipError(
                    f"{self._path.parent} is in use by the trainer {self._owner() or 'of an unknown name'}; "
                    "stop it, or set trainer.checkpoint_dir to another folder"
                )
            if not told:
                _log.warning(
                    "%s is in use by the trainer %s; waiting up to %g s for it to end",
                    self._path.parent,
                    self._owner() or "of an unknown name",
                    seconds,
                )
            told = True
            time.sleep(_POLL_SECONDS)
        self.previous_owner = self._owner()

    def note_owner(self, name: str) -> None:
        """Write down who has the lock."""
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, name.encode(), 0)
        except OSError as error:  # a full disk: the next trainer waits for the lease in Redis instead
            _log.warning("%s cannot be written: %s", self._path, error)

    def _try(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            _log.warning("%s cannot be locked (%s); only Redis tells two trainers apart", self._path, error)
        return True

    def _owner(self) -> str:
        return os.pread(self._descriptor, 1024, 0).decode(errors="replace")

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)
