"""Tests for a change in a series of numbers, one module each: it declares one as `create`, and the watches find it."""
