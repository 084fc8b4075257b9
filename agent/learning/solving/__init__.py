"""Pure arrays."""
