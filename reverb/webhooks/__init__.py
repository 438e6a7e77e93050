"""Pusher's webhooks: HTTP requests that notify an app's own server of activity on its channels.

Events come from the hub's notices or, in a cluster, from a queue that the nodes share. The
dispatcher collects the events in one batch for each endpoint. The sender makes a delivery of each
batch, records the delivery in the journal, and sends the delivery. The sender retries until the
endpoint accepts the delivery or the time for retries is over.
"""
