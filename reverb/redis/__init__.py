"""How a node talks to Redis: connections, scripts and the bus."""
