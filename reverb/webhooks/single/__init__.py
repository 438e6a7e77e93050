"""Webhooks of a single node."""
