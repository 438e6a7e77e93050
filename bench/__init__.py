"""The benchmark: what the server costs, measured by a load generator that checks every byte.

``python -m bench`` runs it, ``make bench`` installs first what it needs. Linux only.
"""
