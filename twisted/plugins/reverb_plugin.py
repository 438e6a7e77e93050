"""Registers the plugin ``twistd reverb``."""

from twisted.application.service import ServiceMaker

reverb = ServiceMaker(
    "Reverb",
    "reverb.tap",
    "A realtime server that speaks the Pusher Channels protocol.",
    "reverb",
)
