"""From examples to a head in service. Read the rooms in this order, each of which may import those before it:

solving/   pure arrays: the head, what makes one, and what says how good it is
training/  examples, and a head made from them: `train` is the whole way
pictures/  labelled pictures as people keep them, and which of them belong on one side of a split
heads/     the heads that there are, and whether a new one goes into service
running/   a retraining as a child process, and when it should pause

The examples themselves lie on flash in agent/cache, which stands above: here nobody knows where they come from.
"""
