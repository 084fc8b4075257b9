"""What the daemon does for those who ask, in plain calls. The faces (ingress/: HTTP, MQTT, folders) only translate.

Read on from where a frame comes in:

seeing.py    a frame is looked at by each view that it concerns
inbox.py     there is room for so many frames at once
recent.py    those that were seen last are remembered for a while
tasks.py     the questions that are asked of frames, each with all that follows
teaching.py  people say what frames show, the cache keeps it, and a head is retrained
heads.py     which head is in service
exchange.py  what goes between this board and a desktop
service.py   all of these together: what a face is given
metrics.py   its figures for Prometheus

It may import state, cache, vision, learning, reporting and what lies below them; nothing of ingress.
"""

from agent.service.service import Service

__all__ = ["Service"]
