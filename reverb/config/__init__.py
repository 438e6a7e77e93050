"""The configuration: where settings come from, and how they are checked."""
