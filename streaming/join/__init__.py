"""Impressions joined with the actions that answer them."""
