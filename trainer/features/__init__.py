"""Features of users, items and user-item pairs, without learned weights, shared by training and serving."""
