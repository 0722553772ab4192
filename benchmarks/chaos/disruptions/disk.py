"""A disk without room for checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from benchmarks.chaos.disruptions.base import Disruption, Scene, Variant
from benchmarks.chaos.loop import TRAINER
from benchmarks.chaos.watch import Sign, View, grows

_FAILED = "hsnn_checkpoints_failed_total"
_BLOCK = bytes(1 << 20)


class FullDisk(Disruption):
    """Another program fills the disk of the checkpoints, and makes room again."""

    def signs(self) -> Sequence[Sign]:
        return (grows(TRAINER, _FAILED),)

    def strike(self) -> None:
        with self._file.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(_BLOCK):
                pass

    def end(self) -> None:
        self._file.unlink(missing_ok=True)

    def is_over(self, now: View) -> str:
        return "" if now.ready(TRAINER) else "no checkpoint was written again"

    def durations(self) -> tuple[float, float]:
        return (6.0, 10.0)  # longer than `trainer.snapshot_interval`: until then nothing is written

    @property
    def _file(self) -> Path:
        assert self.scene.loop.disk is not None
        return self.scene.loop.disk / "filled"


def variants(scene: Scene) -> list[Variant]:
    """List the one, where a file system could be mounted."""
    kind = "disk of the checkpoints is full"
    return [(kind, partial(FullDisk, kind))] if scene.loop.disk is not None else []
