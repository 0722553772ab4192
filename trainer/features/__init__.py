"""Features of users, items and pairs, without parameters: one code for training and serving."""
