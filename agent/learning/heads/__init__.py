"""Heads on flash."""
