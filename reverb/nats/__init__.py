"""The connection to NATS, and the broker that uses it."""
