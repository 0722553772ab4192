"""Retrieval that learns while it serves. The public API: names of all rooms, each imported at its first use.

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
    from hsnn.serving.client.async_client import AsyncClient
    from hsnn.serving.client.client import Client
    from hsnn.serving.mirror.mirror import Mirror
    from hsnn.streaming.consumer.consumer import Consumer
    from hsnn.streaming.datasets.imported.entry import dataset_from_tables
    from hsnn.streaming.log.base import EventLog
    from hsnn.streaming.log.open import open_log
    from hsnn.streaming.schema.batch import Batch, Engagements
    from hsnn.streaming.schema.events import Impression, Interaction, Item, User
    from hsnn.trainer.model.item_encoder import Encoder
    from hsnn.trainer.model.scorer import Scorer
    from hsnn.trainer.retrieval.inverted_lists import InvertedLists
    from hsnn.trainer.training.learner import Learner

_MODULES = {
    "Alarm": "hsnn.monitoring.alarms",
    "AsyncClient": "hsnn.serving.client.async_client",
    "AuditTrail": "hsnn.monitoring.audit",
    "Batch": "hsnn.streaming.schema.batch",
    "Client": "hsnn.serving.client.client",
    "Config": "hsnn.config.schema",
    "Consumer": "hsnn.streaming.consumer.consumer",
    "EmbeddedKafka": "hsnn.embedded.kafka",
    "EmbeddedRedis": "hsnn.embedded.redis",
    "Encoder": "hsnn.trainer.model.item_encoder",
    "Engagements": "hsnn.streaming.schema.batch",
    "EventLog": "hsnn.streaming.log.base",
    "Health": "hsnn.monitoring.health",
    "HsnnError": "hsnn.monitoring.errors",
    "Impression": "hsnn.streaming.schema.events",
    "IndexReader": "hsnn.indexer.store.reader",
    "Interaction": "hsnn.streaming.schema.events",
    "Item": "hsnn.streaming.schema.events",
    "Learner": "hsnn.trainer.training.learner",
    "InvertedLists": "hsnn.trainer.retrieval.inverted_lists",
    "LossDrift": "hsnn.monitoring.drift",
    "Mirror": "hsnn.serving.mirror.mirror",
    "MixDrift": "hsnn.monitoring.drift",
    "Scorer": "hsnn.trainer.model.scorer",
    "User": "hsnn.streaming.schema.events",
    "dataset_from_tables": "hsnn.streaming.datasets.imported.entry",
    "evaluate": "hsnn.evaluation.harness.prequential",
    "load": "hsnn.config.loader",
    "open_log": "hsnn.streaming.log.open",
}
"""The module that defines each public name; imported at the first use of the name."""

__all__ = [
    "Alarm",
    "AsyncClient",
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
    "InvertedLists",
    "Item",
    "Learner",
    "LossDrift",
    "Mirror",
    "MixDrift",
    "Scorer",
    "User",
    "dataset_from_tables",
    "evaluate",
    "load",
    "open_log",
]


def __getattr__(name: str) -> Any:
    """Import the module that defines a public name; one that needs a package of an extra says which."""
    if name not in _MODULES:
        raise AttributeError(f"module 'hsnn' has no attribute {name!r}; public names: {', '.join(__all__)}")
    try:
        return getattr(import_module(_MODULES[name]), name)
    except ModuleNotFoundError as error:
        from hsnn.monitoring.errors import missing_package

        if (message := missing_package(error)) is None:
            raise
        raise ModuleNotFoundError(f"hsnn.{name}: {message}", name=error.name) from error


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
