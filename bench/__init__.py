"""The benchmark: the server's cost, measured by a load generator that checks every byte.

``python -m bench`` runs it. ``make bench`` first installs its dependencies. Linux only.
"""
