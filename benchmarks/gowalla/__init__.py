"""The static protocol on Gowalla: backbone, learned levels, test-time training."""
