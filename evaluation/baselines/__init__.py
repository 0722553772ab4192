"""What the served path is compared with."""
