"""The ``reverb`` command for operators, which uses the HTTP API of a running server."""
