"""How long everything took, and who is told."""
