"""Webhooks of a cluster: an elected node, the leader, sends them for all nodes."""
