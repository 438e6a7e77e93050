"""Pusher's webhooks: HTTP requests that notify an app's own server of activity on its channels.

The hub's notices (in a cluster: the shared store's queue entries) are debounced, put into batches
for each endpoint, written to a journal, and posted until the endpoint accepts them.
"""
