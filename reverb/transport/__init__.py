"""Bytes in and out: one port, two protocols, and the write path."""
