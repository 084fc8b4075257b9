"""The way to the broker, and the only place in the agent that imports paho. Nothing else loads it before it is needed.

Read on from the call that publishes:

broker.py        connected to in the background; publishes from any thread without waiting
sending.py       what is said over one connection after another: state, reports, all else
outbox.py        reports, kept until the broker has them
sequence.py      their numbers, across restarts
spool.py         those that wait, on flash
session.py       one connection, with a paho client of its own
capabilities.py  what a broker takes, and how large packets are
negotiation.py   what the next connection begins with, after those before
endpoint.py      where the broker is, and how it is entered

It may import topics.py, config, board and what lies below them.
"""
