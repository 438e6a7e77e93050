"""The command ``reverb``, for operators: it asks a running server by its HTTP API."""
