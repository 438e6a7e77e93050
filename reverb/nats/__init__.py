"""NATS connections, and the broker on them."""
