"""``hsnn up``: everything on one machine, kept in a folder."""
