"""The MoNN, and its faces as arrays: item encoder, scorer, score bounds."""
