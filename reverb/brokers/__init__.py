"""Brokers, which carry publications between nodes."""
