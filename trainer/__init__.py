"""Lastlayer's trainer: makes and exports backbones on a desktop."""
