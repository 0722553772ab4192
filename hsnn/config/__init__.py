"""The configuration of all rooms, composed: loaded, listed and rendered."""
