"""Pure functions of arrays: nothing here reads a file, asks for the time, or knows where examples come from.

head.py         the last layer as it is served and stored: logits, softmax, the best labels
npz.py          the file of a head, of which nothing is believed
moments.py      what the closed forms need to know of all examples: sums, and the standardisation that follows
closed_form.py  heads without iteration: discriminant and ridge from one linear system
solvers.py      heads by steps: cross-entropy, SGD, Adam, and the step itself
metrics.py      how good a head is, and what makes its probabilities mean what they say

Read them in this order. They import agent.errors, agent.records and numpy, and head.py, which reads by npz.py, is the
ground of the others.
"""
