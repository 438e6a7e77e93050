"""Connections: WebSocket and HTTP on one port, and the write path to clients."""
