"""Pusher's webhooks: the app's own server is told what happens on its channels.

What the hub notices (or what a store that nodes share will tell) is smoothed, put into
batches for each endpoint, written to a journal, and posted until it is taken.
"""
