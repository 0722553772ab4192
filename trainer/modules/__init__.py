"""Parts of the network: towers, over-arch, inputs and losses."""
