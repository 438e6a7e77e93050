"""The Pusher HTTP API, as twisted.web resources."""
