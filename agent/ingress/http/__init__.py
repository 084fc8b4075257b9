"""Frames and questions over HTTP."""
