"""Uses several cores: a supervisor process runs several nodes on the same addresses."""
