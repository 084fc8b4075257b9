"""Lastlayer's agent: classifies frames on a small board and retrains the last layer there.

Read on from what a person types, downwards; a room may import those that stand below it here, and never another:

cli.py, commands/      what a person types, a module each
daemon.py              started, watched, stopped in reverse order
composition.py         from the configuration to the parts of the daemon
doctor/, measuring/    why the service would fail · the study's phases and figures
ingress/               where frames and questions come in: HTTP, MQTT, a folder
service/               what the daemon does for those who ask
state/                 what one board has: a backbone, a cache, heads
cache/, vision/        the examples on flash · from a frame to a bottleneck and to what it shows
learning/              from examples to a head in service
reporting/             how long everything took, how the board is, and who is told
config.py              the configuration
records.py, region.py  the words that every room shares, and where a view looks
schema.py              dataclasses from YAML
board/, terminal.py    what the operating system gives · what the commands print
errors.py              every error that is raised on purpose
"""

__version__ = "0.1.0"
