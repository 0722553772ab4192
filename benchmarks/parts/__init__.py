"""What single parts cost, alone."""
