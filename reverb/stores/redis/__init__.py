"""The channel store of a cluster: its nodes share a Redis."""
