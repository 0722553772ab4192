"""Monitoring: metrics, health, drift detectors, the quality gate, alarms and the audit trail."""
