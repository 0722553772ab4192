"""One mirror for several processes: one writes it to shared memory, the others read it there."""
