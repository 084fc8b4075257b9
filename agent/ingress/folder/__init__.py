"""Frames from a watched folder."""
