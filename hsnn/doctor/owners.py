"""Who writes: the trainer and the scheduler in Redis, and the trainer of the folder of checkpoints."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import Any

from hsnn.doctor.finding import Finding
from hsnn.indexer.store.lease import lease_key
from hsnn.streaming.redis.client import Redis
from hsnn.trainer.checkpoint.folder_lock import LOCK_FILE
from hsnn.trainer.publish.ownership import Owner, owner_key
from hsnn.trainer.publish.ownership import lease_key as trainer_lease_key


def check_owners(client: Redis, checkpoint_dir: Path) -> Finding:
    """Say which trainer and which scheduler write to Redis, and who uses the folder of checkpoints."""
    names = (owner_key(), trainer_lease_key(), lease_key())
    owner, living, leader = (_read(client, name) for name in names)
    trainer = f"trainer {Owner.parse(owner).where} (epoch {Owner.parse(owner).token})" if owner else "no trainer so far"
    if owner and living != owner:
        trainer += ", which has ended"
    token, _, holder = leader.partition(":")
    scheduler = f"scheduler {holder} leads (fencing token {token})" if leader else "no scheduler leads"
    return Finding("writers", "ok", f"{trainer}; {scheduler}; {_folder_owner(checkpoint_dir.absolute())}")


def _read(client: Redis, name: str) -> str:
    value: Any = client.get(name)
    return value.decode() if value else ""


def _folder_owner(folder: Path) -> str:
    name = ""
    try:
        with (folder / LOCK_FILE).open("r+b") as file:
            name = Owner.parse(file.read()).where
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # freed when the file is closed
    except FileNotFoundError:
        return f"{folder} was not written yet"
    except OSError:
        return f"{folder} is written by {name or 'an unknown process'}"
    return f"{folder} is free, last written by {name or 'an unknown process'}"
