"""Mirror of index, items and users as arrays in the server's memory."""
