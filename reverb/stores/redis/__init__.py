"""The channel store of a cluster, in the Redis that the nodes share."""
