"""Lastlayer's agent: classifies frames on a small board and retrains the last layer there."""

__version__ = "0.1.0"
