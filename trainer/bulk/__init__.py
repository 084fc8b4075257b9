"""Bottlenecks of a whole corpus.

bottlenecks.py   the way through it: pictures in blocks → workers → the one process that appends
embedding.py     what a worker does with a block
workers.py       bounded work in flight, answers in order, whatever becomes of a worker
evaluating.py    the same workers for a test set: how good a head is
keras_backbone.py    the same from a Keras model, batched, on a GPU where there is one
ledger.py        how far it got, and what was left out
scaling.py       what more workers would gain
"""
