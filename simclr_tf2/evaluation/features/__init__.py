"""Features of a split: computed on all replicas, kept on disk, checked."""
