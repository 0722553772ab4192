"""What a checkpoint costs: pauses with large tables, and throughput."""
