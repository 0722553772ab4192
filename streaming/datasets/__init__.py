"""Public data sets as streams of events in event-time order, with terms of use and ways to obtain them."""

from hsnn.streaming.datasets.base import DataError, Dataset, Impressions
from hsnn.streaming.datasets.registry import describe, get, load, names, source

__all__ = ["DataError", "Dataset", "Impressions", "describe", "get", "load", "names", "source"]
