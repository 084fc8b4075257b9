"""From examples to a head.

train           the whole way, and what comes of it: begin here
settings        how to train, and how a head was made
fitting         by the solver that was asked for, by the best of several, or by the one that was chosen before
choosing        several solvers, and which of them is best
descent         one of them: by steps, with curves and early stopping
checkpoint      where a descent goes on after a kill
validation      judging heads while they are made, and when they are
sums            what is kept between retrainings
difference      what has changed since
arrayfile       the file that both keep their arrays in
trainingset     the examples to train on, with what the solvers need to know of them
examples        where they come from, a bounded number at a time
splitting       which of them train and which judge
progress        what a training says while it runs, and how long it will still take

It may import agent.learning.solving for the arithmetic, and agent.reporting to time its phases.
"""
