"""Images of other people, from OCI registries: pulled, unpacked, kept for a while, and run as they say."""
