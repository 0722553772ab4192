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
    from hsnn.config.loader import load
    from hsnn.config.schema import Config
    from hsnn.embedded.kafka import EmbeddedKafka
    from hsnn.embedded.redis import EmbeddedRedis
    from hsnn.evaluation.harness.prequential import evaluate
    from hsnn.indexer.store.reader import IndexReader
    from hsnn.monitoring.alarms import Alarm
    from hsnn.monitoring.audit import AuditTrail
    from hsnn.monitoring.drift import LossDrift, MixDrift
    from hsnn.monitoring.errors import HsnnError
    from hsnn.monitoring.health import Health
    from hsnn.serving.api.client import Client
    from hsnn.serving.mirror.mirror import Mirror
    from hsnn.streaming.consumer.consumer import Consumer
    from hsnn.streaming.log.base import EventLog
    from hsnn.streaming.log.open import open_log
    from hsnn.streaming.schema.batch import Batch, Engagements
    from hsnn.streaming.schema.events import Impression, Interaction, Item, User
    from hsnn.trainer.features.inverted_lists import Leaves
    from hsnn.trainer.model.item_encoder import Encoder
    from hsnn.trainer.model.scorer import Scorer
    from hsnn.trainer.training.learner import Learner

_HOMES = {
    "hsnn.evaluation.harness.prequential": ("evaluate",),
    "hsnn.config.loader": ("Config", "load"),
    "hsnn.embedded.kafka": ("EmbeddedKafka",),
    "hsnn.embedded.redis": ("EmbeddedRedis",),
    "hsnn.indexer.store.reader": ("IndexReader",),
    "hsnn.monitoring.alarms": ("Alarm",),
    "hsnn.monitoring.audit": ("AuditTrail",),
    "hsnn.monitoring.drift": ("LossDrift", "MixDrift"),
    "hsnn.monitoring.errors": ("HsnnError",),
    "hsnn.monitoring.health": ("Health",),
    "hsnn.serving.api.client": ("Client",),
    "hsnn.serving.mirror.mirror": ("Mirror",),
    "hsnn.streaming.schema.batch": ("Batch", "Engagements"),
    "hsnn.streaming.consumer.consumer": ("Consumer",),
    "hsnn.streaming.schema.events": ("Impression", "Interaction", "Item", "User"),
    "hsnn.streaming.log.base": ("EventLog",),
    "hsnn.streaming.log.open": ("open_log",),
    "hsnn.trainer.model.item_encoder": ("Encoder",),
    "hsnn.trainer.features.inverted_lists": ("Leaves",),
    "hsnn.trainer.training.learner": ("Learner",),
    "hsnn.trainer.model.scorer": ("Scorer",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Alarm",
    "AuditTrail",
    "Batch",
    "Client",
    "Config",
    "Consumer",
    "EmbeddedKafka",
    "EmbeddedRedis",
    "Encoder",
    "Engagements",
    "EventLog",
    "Health",
    "HsnnError",
    "Impression",
    "IndexReader",
    "Interaction",
    "Item",
    "Learner",
    "Leaves",
    "LossDrift",
    "Mirror",
    "MixDrift",
    "Scorer",
    "User",
    "evaluate",
    "load",
    "open_log",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its room."""
    if name not in _HOME:
        raise AttributeError(f"module 'hsnn' has no attribute {name!r}; public names: {', '.join(__all__)}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
