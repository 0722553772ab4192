"""Drift detectors, fed by the trainer with its own figures, so that the same log raises the same alarms."""

from hsnn.monitoring.drift.adwin import LossDrift
from hsnn.monitoring.drift.detector import Detector
from hsnn.monitoring.drift.psi import MixDrift

__all__ = ["Detector", "LossDrift", "MixDrift"]
