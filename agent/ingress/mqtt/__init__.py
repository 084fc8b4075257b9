"""Frames, labels and commands over MQTT."""
