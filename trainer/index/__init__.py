"""The learned hierarchy: its levels, how items are assigned to them, and the learners that move them."""
