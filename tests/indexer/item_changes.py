"""What may happen to items of a toy trainer, step by step, while a leader follows."""

from __future__ import annotations

from hsnn.indexer.build.leader import Leader


class Happenings:
    """Steps that worlds share; `leader` is the one in office."""

    leader: Leader

    def __init__(self, toy, store, follow) -> None:
        self.toy, self.store, self._follow = toy, store, follow

    def put(self, name, cluster, life) -> None:
        self.toy.put(name, cluster, expires_at=life and self.toy.watermark + life)

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
