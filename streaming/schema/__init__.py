"""What an event, a command and a batch are, and how they are encoded."""
