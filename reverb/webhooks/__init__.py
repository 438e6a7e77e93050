"""Pusher's webhooks: HTTP requests that notify an app's own server of activity on its channels.

Events come from the hub's notices or, in a cluster, from a queue that the nodes share. The
dispatcher collects them in one batch for each endpoint. The sender records each batch in the
journal, posts it, and retries until the endpoint accepts it or the time for retries is over.
"""
