"""The `caisson` command, on top of the public client."""
