"""The kill benchmark's parts: the processes that are killed, and the feed that never stops."""
