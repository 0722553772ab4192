"""What is watched: metrics, health, drift detectors, alarms and the audit trail."""
