"""The prequential harness: sampled queries put to the served path and to every baseline."""
