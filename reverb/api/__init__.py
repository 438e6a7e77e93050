"""The Pusher HTTP API: functions that take a request and return a response."""
