"""Who may use the server, and where the apps come from."""
