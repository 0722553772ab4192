from __future__ import annotations

from pathlib import Path

from hsnn.doctor.owners import check_owners
from hsnn.indexer.store.lease import Lease
from hsnn.streaming.redis.client import Redis
from hsnn.trainer.online.loop import become_owner


def test_who_owns_what(redis_client: Redis, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"

    def owners() -> str:
        return check_owners(redis_client, folder).text

    assert owners() == f"no trainer so far; no scheduler leads; {folder} was not written yet"
    ownership, lock = become_owner(redis_client, folder)
    leader = Lease(redis_client, 10.0, "host/7")
    assert leader.acquire()
    name = ownership.owner.where
    assert owners() == (
        f"trainer {name} (epoch 1); scheduler host/7 leads (fencing token 1); {folder} is written by {name}"
    )
    ownership.release()
    leader.release()
    del lock
    assert owners() == (
        f"trainer {name} (epoch 1), which has ended; no scheduler leads; {folder} is free, last written by {name}"
    )
