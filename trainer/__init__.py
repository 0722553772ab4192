"""The model learns: features, item state, id tables, MoNN, learned hierarchy, beam, online loop, checkpoints."""
