"""Why the service would fail, before it does.

Nothing here imports numpy, Pillow, paho, PyYAML or a TFLite runtime when it is imported itself: where one of them is
missing, or ends the process that loads it, this is what has to say so. Begin with checks.py.

checks.py     what a check says
machine.py    the machine and what is installed on it
service.py    what the daemon needs by its configuration
broker.py     the broker: reached, and logged in to, as the daemon would
answering.py  what answers one question: a network and a head
tasks.py      that of each task, what it has learnt, and what none of them has

It may import all that the daemon is made of, inside the check that needs it; not the daemon itself.
"""
