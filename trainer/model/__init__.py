"""The MoNN, and its array interfaces for publishing and serving: item encoder and scorer."""
