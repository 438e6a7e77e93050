"""The command ``reverb`` for operators, which uses the HTTP API of a running server."""
