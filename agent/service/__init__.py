"""What the daemon does for those who ask, in plain calls. The faces (HTTP, MQTT, folders) only translate.

seeing.py    a frame comes in and is classified
teaching.py  people say what frames show, and a head is retrained
heads.py     which head is in service
service.py   the three together
"""

from agent.service.service import Service

__all__ = ["Service"]
