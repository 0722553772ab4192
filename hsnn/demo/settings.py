"""The configuration of a demo: the user's, with defaults that suit two cores and two minutes."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from hsnn.config.keys import flatten, nested
from hsnn.config.loader import Loaded
from hsnn.config.render import show
from hsnn.config.schema import Config, known_keys

SUITABLE: dict[str, Any] = {
    "trainer.snapshot_interval": 1.0,  # seconds; in a fast replay a second is half an hour of event time
    "trainer.prequential_share": 0.03,
    "indexer.verify_interval": 20.0,
}
"""Defaults of the demo; a file, the environment or ``--set`` overrides them."""


def compose(
    loaded: Loaded, *, folder: Path, redis: str, log: str, topics: Mapping[str, str], expire_after_idle: float | None
) -> Config:
    """Compose the configuration that all processes of a demo share.

    Parameters
    ----------
    loaded
        The user's configuration.
    folder
        For checkpoints and the answer log.
    redis, log
        Addresses of the index and of the event log.
    topics
        Names of topics by key, such as ``streaming.items_topic``, where the log is shared with others.
    expire_after_idle
        Suggestion of the data set, seconds; a value of the user overrides it.
    """
    ports = free_ports(3)
    suggested = {**SUITABLE, "trainer.expire_after_idle": expire_after_idle}
    fixed: dict[str, Any] = {
        "redis.url": redis,
        "streaming.log": log,
        **topics,
        "trainer.checkpoint_dir": folder / "checkpoints",
        "trainer.server": f"http://127.0.0.1:{ports[0]}",
        "serving.host": "127.0.0.1",
        "serving.port": ports[0],
        "serving.token_env": None,
        "serving.answer_log": folder / "answers.jsonl",
        "monitoring.host": "127.0.0.1",
        "monitoring.trainer_port": ports[1],
        "monitoring.scheduler_port": ports[2],
    }
    return override(loaded, suggested, fixed)


def override(loaded: Loaded, suggested: Mapping[str, Any], fixed: Mapping[str, Any]) -> Config:
    """Override a configuration by key: `suggested` where the user set nothing, `fixed` in any case."""
    values = dict(flatten(loaded.config.model_dump(), known_keys()))
    wanted = {name: value for name, value in suggested.items() if name not in loaded.origins}
    return Config(**nested({**values, **wanted, **fixed}.items()))


def write(config: Config, file: Path) -> None:
    """Write the configuration file of the processes."""
    file.write_text(show(Loaded(config, {})), "utf-8")


def free_ports(count: int) -> list[int]:
    """Return different ports of loopback that are free now."""
    with ExitStack() as open_:
        probes = [open_.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
