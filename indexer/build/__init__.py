"""New versions of the index, and the leader that makes them."""
