"""Network modules: towers, over-archs, model inputs and losses."""
