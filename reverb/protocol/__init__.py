"""The Pusher Channels protocol, pure: no Twisted, no clock, no socket."""
