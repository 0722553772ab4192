"""A laboratory of drift: changes planted into recorded streams, found or missed by the signals."""
