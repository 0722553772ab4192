"""Retrieval that learns while it serves: the public names of all rooms, imported when they are first used.

Examples
--------
>>> import hsnn
>>> hsnn.Interaction(id=1, ts=5, user="u", item="i", action="click").user
'u'
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evaluation.harness import evaluate
    from hsnn.config import Config, load
    from hsnn.embedded.kafka import EmbeddedKafka
    from hsnn.embedded.redis import EmbeddedRedis
    from indexer.reader import IndexReader
    from monitoring.alarms import Alarm
    from monitoring.audit import AuditTrail
    from monitoring.drift import LossDrift, MixDrift
    from monitoring.errors import HsnnError
    from monitoring.health import Health
    from serving.client import Client
    from serving.mirror import Mirror
    from streaming.columns import Batch, Engagements
    from streaming.consumer import Consumer
    from streaming.events import Impression, Interaction, Item, User
    from streaming.log import EventLog
    from streaming.open_log import open_log
    from trainer.encoder import Encoder
    from trainer.learner import Learner
    from trainer.leaves import Leaves
    from trainer.scorer import Scorer

_HOMES = {
    "evaluation.harness": ("evaluate",),
    "hsnn.config": ("Config", "load"),
    "hsnn.embedded.kafka": ("EmbeddedKafka",),
    "hsnn.embedded.redis": ("EmbeddedRedis",),
    "indexer.reader": ("IndexReader",),
    "monitoring.alarms": ("Alarm",),
    "monitoring.audit": ("AuditTrail",),
    "monitoring.drift": ("LossDrift", "MixDrift"),
    "monitoring.errors": ("HsnnError",),
    "monitoring.health": ("Health",),
    "serving.client": ("Client",),
    "serving.mirror": ("Mirror",),
    "streaming.columns": ("Batch", "Engagements"),
    "streaming.consumer": ("Consumer",),
    "streaming.events": ("Impression", "Interaction", "Item", "User"),
    "streaming.log": ("EventLog",),
    "streaming.open_log": ("open_log",),
    "trainer.encoder": ("Encoder",),
    "trainer.leaves": ("Leaves",),
    "trainer.learner": ("Learner",),
    "trainer.scorer": ("Scorer",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Alarm", "AuditTrail", "Batch", "Client", "Config", "Consumer", "EmbeddedKafka", "EmbeddedRedis", "Encoder",
    "Engagements", "EventLog", "Health", "HsnnError", "Impression", "IndexReader", "Interaction", "Item", "Learner",
    "Leaves", "LossDrift", "Mirror", "MixDrift", "Scorer", "User", "evaluate", "load", "open_log",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import a public name from its room."""
    if name not in _HOME:
        raise AttributeError(f"module 'hsnn' has no attribute {name!r}; public names: {', '.join(__all__)}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
