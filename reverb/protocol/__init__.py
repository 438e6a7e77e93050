"""The Pusher Channels protocol as pure functions and types, without Twisted, clocks or sockets."""
