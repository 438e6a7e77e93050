"""The connections, channels and users of one node."""
