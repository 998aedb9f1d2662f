"""What `encode` does: tiles of a scene go through the frozen encoder, here or on a cluster, and end in memory or in a store."""
