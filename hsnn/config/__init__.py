"""The configuration of all rooms: its model, its sources, and how it is written out."""
