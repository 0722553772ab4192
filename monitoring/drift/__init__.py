"""Drift detectors, fed by the trainer with its own figures, so that the same log raises the same alarms."""
