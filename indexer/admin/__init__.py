"""What an operator does to an index: repair, rollback, statistics, diff, export."""
