"""``hsnn demo``: the whole loop on one machine, every role its own process, in front of the user's eyes."""
