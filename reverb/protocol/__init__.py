"""The Pusher Channels protocol, implemented without Twisted, clocks and sockets."""
