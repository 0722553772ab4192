"""Reports of runs: summary, Markdown file, plots."""
