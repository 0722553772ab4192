"""Changes to the items of a toy trainer, step by step, while a leader follows."""

from __future__ import annotations

from hsnn.indexer.build.leader import Leader


class ItemChanges:
    """Steps that several test systems share; `leader` is the one that leads now."""

    leader: Leader

    def __init__(self, toy, store, follow) -> None:
        self.toy, self.store, self._follow = toy, store, follow

    def put(self, name, cluster, lifetime) -> None:
        self.toy.put(name, cluster, expires_at=lifetime and self.toy.watermark + lifetime)

    def delete(self, name) -> None:
        if self.toy.row(name) >= 0:
            self.toy.delete(name)

    def engage(self, name) -> None:
        if self.toy.row(name) >= 0:
            self.toy.engage(name)

    def pass_time(self, ms) -> None:
        self.toy.pass_time(ms)

    def follow(self) -> None:
        self._follow(self.leader)
