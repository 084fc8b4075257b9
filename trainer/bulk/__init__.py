"""Bottlenecks of a whole corpus. Imports cluster and networks.

computing.py         the whole of it: into a state, by workers or by Keras, or only measured
bottlenecks.py       the way through it: pictures in blocks → workers → the one process that appends
embedding.py         what a worker does with a block
workers.py           bounded work in flight, answers in order, whatever becomes of a worker
keras_backbone.py    the same from a Keras model, batched, on a GPU where there is one
neighbours.py        which pictures look the same, among a million
ledger.py            how far it got, and what was left out
scaling.py           what more workers would gain
evaluating.py        the same workers for a test set: how good a head is
"""
