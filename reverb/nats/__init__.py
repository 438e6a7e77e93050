"""How a node talks to NATS."""
