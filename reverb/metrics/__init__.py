"""The server's metrics, exported in the Prometheus formats.

:mod:`reverb.meter` counts; this package gives the counters their metric names.
"""
