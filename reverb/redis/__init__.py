"""Redis connections, scripts, and the broker on Redis's publish/subscribe."""
