"""Cross features of a user and an item."""

CROSS_FEATURES = 6
