"""A second trainer, scheduler or server that somebody starts by mistake, and stops again."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from functools import partial
from random import Random

from benchmarks.chaos.disruptions.base import Disruption, Scene, Variant
from benchmarks.chaos.loop import SCHEDULERS
from benchmarks.chaos.processes import TAKEN, Role
from benchmarks.chaos.watch import Sign, View, is_zero, says
from hsnn.embedded.process import free_port

# what the second one says, and its exit status
_WAITS, _SAME_FOLDER, _PORT = "another trainer may be alive", "is in use by the trainer", "in use"


class Second(Disruption):
    """A further process of a role; it is felt once its program is loaded, which its first line of log shows.

    Parameters
    ----------
    guest
        Not started.
    """

    def __init__(self, guest: Role, kind: str, scene: Scene, random: Random) -> None:
        super().__init__(kind, scene, random)
        self._guest = guest
        self._begin = guest.log.stat().st_size if guest.log.exists() else 0

    def strike(self) -> None:
        self._guest.start()

    def has_begun(self) -> bool:
        return self._guest.log.exists() and self._guest.log.stat().st_size > self._begin


class SecondTrainer(Second):
    """It is refused and ends with status 3; the first one goes on."""

    def __init__(self, same_folder: bool, kind: str, scene: Scene, random: Random) -> None:
        other = {"trainer.checkpoint_dir": str(scene.loop.folder / "other")}
        guest = scene.loop.role("trainer_by_mistake", "train", free_port(), {} if same_folder else other)
        super().__init__(guest, kind, scene, random)
        self._before = len(scene.loop.roles["trainer"].ends)

    def signs(self) -> Sequence[Sign]:
        return says(self._guest.log, _SAME_FOLDER), says(self._guest.log, _WAITS)

    def is_over(self, now: View) -> str:
        del now
        if self._guest.running:
            return "the second trainer has not ended"
        if self._guest.code != TAKEN:
            return f"the second trainer ended with status {self._guest.code}"
        return "" if len(self.scene.loop.roles["trainer"].ends) == self._before else "the first trainer ended"


class SecondReader(Second):
    """A second server, or a third scheduler: it does what it can, and nobody minds."""

    def __init__(self, command: str, same_port: bool, kind: str, scene: Scene, random: Random) -> None:
        loop, like = scene.loop, {"schedule": SCHEDULERS[0], "serve": "server_1"}[command]
        self._taken = same_port
        port = loop.roles[like].port if same_port else free_port()
        super().__init__(loop.role(f"{command}_by_mistake", command, port), kind, scene, random)
        self._command = command

    def signs(self) -> Sequence[Sign]:
        if self._taken:
            return (says(self._guest.log, _PORT),)
        name = self._guest.name
        if self._command == "schedule":
            return (is_zero(name, "hsnn_scheduler_leading"),)
        return (Sign("its own `/metrics`", lambda _, now: now.answers(name)),)

    def strike(self) -> None:
        super().strike()
        if not self._taken:
            self.scene.loop.guests.append(self._guest)

    def end(self) -> None:
        self._guest.send_signal(signal.SIGTERM)
        self._guest.stop()
        if not self._taken:
            self.scene.loop.guests.remove(self._guest)


def variants(_: Scene) -> list[Variant]:
    """List each of them, with something shared and without."""
    found = [
        ("second trainer, own folder", partial(SecondTrainer, False)),
        ("second trainer, same folder", partial(SecondTrainer, True)),
        ("further scheduler", partial(SecondReader, "schedule", False)),
        ("further server", partial(SecondReader, "serve", False)),
        ("second scheduler on the same port", partial(SecondReader, "schedule", True)),
        ("second server on the same port", partial(SecondReader, "serve", True)),
    ]
    return [(kind, partial(make, kind)) for kind, make in found]
