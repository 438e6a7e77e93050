"""A realtime server that speaks the Pusher Channels protocol.

Run it as ``twistd -n reverb``, or embed it: see :mod:`reverb.service`.
"""

__version__ = "0.1.0"
