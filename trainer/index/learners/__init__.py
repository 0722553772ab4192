"""The index learners: how nodes and assignments move, one file each."""
