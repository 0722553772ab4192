"""What the trainer hands to Redis: states, feed and snapshots."""
