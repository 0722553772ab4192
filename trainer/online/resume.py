"""Start from the newest checkpoint, the same one in all workers, or from an empty model."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.consumer.consumer import Consumer
from hsnn.streaming.consumer.partition_assignment import PartitionAssignment
from hsnn.streaming.consumer.rescale import unpack_state
from hsnn.streaming.decode.decode_journal import DecodeJournal
from hsnn.streaming.log.base import EventLog
from hsnn.trainer.checkpoint.store import Checkpoint, CheckpointStore
from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.distributed.process_group import ProcessGroup
from hsnn.trainer.errors import CheckpointError
from hsnn.trainer.online.drift import DriftMonitor
from hsnn.trainer.online.progress import TrainingProgress
from hsnn.trainer.training.learner import Learner

_log = logging.getLogger(__name__)


def common_checkpoint(store: CheckpointStore, world: ProcessGroup | None) -> Checkpoint | None:
    """Read the newest undamaged checkpoint that worker 0 finds; None if there is none.

    Raises
    ------
    CheckpointError
        Every checkpoint is damaged, or this worker does not see the one that worker 0 chose.
    """
    if world is None:
        return store.newest()
    newest = store.newest() if world.rank == 0 else None
    name = world.all_gather_bytes(b"" if newest is None else newest.name.encode())[0].decode()
    if world.rank == 0 or not name:
        return newest
    try:
        return store.read(name)
    except CheckpointError as error:
        raise CheckpointError(
            f"worker {world.rank} cannot read the checkpoint that worker 0 goes on from ({error}); "
            "all workers need the same trainer.checkpoint_dir, on storage that they share"
        ) from error


def resume_learner(
    config: TrainerConfig, checkpoint: Checkpoint | None, progress: TrainingProgress, drift: DriftMonitor
) -> Learner:
    """Restore learner, progress and drift detectors from a checkpoint, or make an empty learner.

    Raises
    ------
    CheckpointError
        The checkpoint has a model of another shape.
    """
    if checkpoint is None:
        return Learner(config)
    if changed := config.model.shape_differences(checkpoint.manifest.model):
        written, now = checkpoint.manifest.model, config.model.model_dump(mode="json")
        keys = ", ".join(
            f"trainer.model.{name} = {written.get(name, 'not known then')}, not {now[name]}" for name in changed
        )
        raise CheckpointError(
            f"{checkpoint.name} in {config.checkpoint_dir} has a model of another shape: it was written with {keys}. "
            "Set these keys to what it was written with; or set trainer.checkpoint_dir to an empty folder, and the "
            "trainer learns a new model from the start of the log"
        )
    if (threads := checkpoint.manifest.threads) != config.threads:
        _log.warning("%s was written with trainer.threads = %d: last bits will differ", checkpoint.name, threads)
    progress.load_state_dict(checkpoint.values["progress"])
    drift.load_state_dict(checkpoint.values["drift"])
    _log.info("resuming from %s, %d events", checkpoint.name, checkpoint.manifest.events)
    return Learner.from_state_dict(config, checkpoint.arrays, checkpoint.values["learner"])


def make_consumer(
    log: EventLog,
    config: StreamingConfig,
    saved: Mapping[str, Any] | None,
    *,
    world: ProcessGroup | None,
    journal: DecodeJournal | None,
) -> Consumer:
    """Make this worker's consumer, from what a checkpoint of any number of workers holds of theirs."""
    share = PartitionAssignment() if world is None else PartitionAssignment(world.rank, world.size)
    state: Mapping[str, Any] | None = None
    if saved is not None:
        state = unpack_state(saved, share, (config.control_topic,))
    return Consumer(
        log,
        config,
        state=state,
        rank=share.rank,
        world_size=share.world_size,
        prefetch=True,
        journal=journal,
    )
