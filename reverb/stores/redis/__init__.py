"""The channel store that nodes share through Redis."""
