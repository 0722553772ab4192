"""The demo: the whole system on one machine, fed with a replayed data set, measured and checked."""
