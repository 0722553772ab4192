"""The freshness benchmark's parts: who sends, who asks, who waits for single items."""
