"""The Pusher HTTP API: functions from a request to a response."""
