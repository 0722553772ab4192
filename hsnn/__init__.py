"""Retrieval that learns while it serves."""
