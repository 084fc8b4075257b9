"""Frames, labels and commands over MQTT.

source.py      the face: messages of the broker are sorted, and two threads deal with them
newest.py      the newest frame of each camera, for a service that is slower than its cameras
commands.py    what can be asked by name, and what is answered
exchanging.py  examples, heads and backbones, to and from a desktop

The connection itself, and paho, are in agent.reporting.mqtt: frames come in by the one over which reports go out.
"""
