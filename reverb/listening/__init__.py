"""Listening sockets: endpoint strings, addresses and TLS certificates."""
