"""Public data sets as streams of events in event-time order: what they hold and how to obtain them."""

from hsnn.streaming.datasets.base import DataError, Dataset, Impressions
from hsnn.streaming.datasets.registry import describe, get, load, names, source

__all__ = ["DataError", "Dataset", "Impressions", "describe", "get", "load", "names", "source"]
