"""How many events a second are taken over HTTP."""
