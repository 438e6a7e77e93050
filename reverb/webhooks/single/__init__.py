"""Webhooks of a node that runs alone."""
