"""Impressions joined with the actions that follow them."""
