"""The study's phases, measured on the machine that this runs on. Begin with bench.py.

bench.py        every phase in turn, as one document fit for JSON
seeing.py       from a picture's file to its bottleneck and its best labels
learning.py     examples from flash, steps of training, validations, epochs
measurement.py  a phase that was timed, and what it says about work that was not done
platform.py     what kind of machine this is
study.py        what the study measured, to show beside it
report.py       a document as text, beside the study's figures, and as a file

It may import agent.cache, agent.vision, agent.learning, agent.reporting, and what lies below them. The trainer measures
with it too.
"""
