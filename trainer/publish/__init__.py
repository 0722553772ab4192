"""Publish the trainer's results to Redis: state deltas, the item feed, snapshots, progress and alarms."""
