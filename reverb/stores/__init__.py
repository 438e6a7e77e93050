"""Channel stores: who is subscribed to which channel, and the last event of cache channels."""
