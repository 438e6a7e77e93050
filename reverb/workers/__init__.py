"""More than one core: a parent process that keeps several nodes alive on the same addresses."""
