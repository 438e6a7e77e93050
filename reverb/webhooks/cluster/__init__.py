"""Webhooks of nodes that share a Redis: one node, the leader, sends them."""
