"""From examples to a head."""
