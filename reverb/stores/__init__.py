"""The channel stores: they keep subscriptions, members, and the last events of cache channels."""
