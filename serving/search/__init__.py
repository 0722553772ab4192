"""Requests to items: filters, beam search, exact search, top-k."""
