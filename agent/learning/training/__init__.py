"""From examples to a head.

train.py        the whole way, and what comes of it: begin here
settings.py     how to train, and how a head was made
fitting.py      by the solver that was asked for, by the best of several, or by the one that was chosen before
choosing.py     several solvers, and which of them is best
descent.py      one of them: by steps, with curves and early stopping
checkpoint.py   where a descent goes on after a kill
validation.py   judging heads while they are made, and when they are
sums.py         what is kept between retrainings
difference.py   what has changed since
arrayfile.py    the file that both keep their arrays in
trainingset.py  the examples to train on, with what the solvers need to know of them
examples.py     where they come from, a bounded number at a time
splitting.py    which of them train and which judge
progress.py     what a training says while it runs, and how long it will still take

It may import agent.learning.solving for the arithmetic, and agent.reporting to time its phases.
"""
