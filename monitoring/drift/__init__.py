"""Drift detectors. Their inputs come from the trainer alone, so that the same log raises the same alarms."""

from hsnn.monitoring.drift.adwin import LossDrift
from hsnn.monitoring.drift.detector import Detector
from hsnn.monitoring.drift.psi import MixDrift

__all__ = ["Detector", "LossDrift", "MixDrift"]
