"""Records to rows of events."""
