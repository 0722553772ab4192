"""Drift detectors, fed by the trainer with its own figures, so that the same log raises the same alarms."""

from monitoring.drift.adwin import LossDrift
from monitoring.drift.detector import Detector
from monitoring.drift.psi import MixDrift

__all__ = ["Detector", "LossDrift", "MixDrift"]
