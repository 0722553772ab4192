"""Drift detectors, one module each: it declares one as `DETECTOR`, and the trainer finds it.

Their inputs come from the trainer alone, so that the same log raises the same alarms.
"""

from hsnn.monitoring.detector import Detector
from hsnn.monitoring.drift.loss import LossDrift
from hsnn.monitoring.drift.mix import MixDrift

__all__ = ["Detector", "LossDrift", "MixDrift"]
