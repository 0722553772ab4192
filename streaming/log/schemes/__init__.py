"""Event logs by the scheme of their address: `open_address` of the module that is named after the scheme."""
