"""Why the service would fail, before it does.

Nothing here imports numpy, Pillow, paho, PyYAML or a TFLite runtime when it is imported itself: where one of them is
missing, or ends the process that loads it, this is what has to say so.

checks.py    what a check says
machine.py   the machine and what is installed on it
service.py   what the daemon needs by its configuration
broker.py    the broker
"""
