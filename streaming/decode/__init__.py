"""Records decoded into tables of events."""
