"""Figures for people: summary, Markdown, plots."""
