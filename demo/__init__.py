"""The whole way once."""
