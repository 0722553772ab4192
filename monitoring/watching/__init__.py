"""Signals measured per window of the stream, and watches that raise an alarm where one shifts and stays."""
