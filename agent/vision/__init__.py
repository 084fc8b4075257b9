"""From a frame's bytes to a bottleneck."""
