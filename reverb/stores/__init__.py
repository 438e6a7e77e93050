"""Where the truth about channels is kept."""
