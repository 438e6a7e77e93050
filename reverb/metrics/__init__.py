"""The server's metrics, as Prometheus reads them.

What is counted is in :mod:`reverb.meter`; here it gets its names.
"""
