"""Webhooks of a cluster: an elected node, the leader, sends the webhooks of all nodes."""
