"""(network, batch) -> losses."""
