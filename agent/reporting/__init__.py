"""How long everything took, how the board is, and who is told.

Read on in the order in which a figure travels:

timing.py      phases are timed where they happen, and summed up over a window
summary.py     one phase: count, mean, deviation, percentiles
host.py        what the board feels; the only place that imports psutil
faults.py      what may fail again and again is told once
announcer.py   what is said, to whoever listens: through a broker, and to the feed
topics.py      the names of MQTT topics, and what a result looks like there
retained.py    what the broker keeps, numbered
questions.py   the tasks and views of the configuration, and how many of their frames must agree
debounce.py    a view's state, on which enough of its frames agree
entities.py    which entities Home Assistant has, and which it has no more
discovery.py   what it is told of each
announced.py   what it was told there is, across restarts
feed.py        server-sent events
prometheus.py  the same figures as Prometheus reads them
mqtt/          the way to the broker

It may import config, records, board and what lies below them.
"""
