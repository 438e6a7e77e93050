"""Where a node listens: endpoint strings, addresses and TLS certificates."""
