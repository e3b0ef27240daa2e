"""Network namespaces for sandboxes, what may pass between them and the world, and their name service."""
