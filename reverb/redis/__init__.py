"""The connections to Redis, the base of the Lua scripts, and the broker on Redis Pub/Sub."""
