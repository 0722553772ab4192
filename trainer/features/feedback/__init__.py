"""What an engagement says of its item, by its action, its value, and how often its user repeated it."""
