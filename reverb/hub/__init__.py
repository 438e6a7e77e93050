"""This process's connections and channels."""
