"""The study's phases, measured on the machine that this runs on. Begin with `bench`.

bench         every phase in turn, as one document fit for JSON
seeing        from a picture's file to its bottleneck and its best labels
learning      examples from flash, steps of training, validations, epochs
measurement   a phase that was timed, and what it says about work that was not done
platform      what kind of machine this is
study         what the study measured, to show beside it
report        a document as text, beside the study's figures, and as a file

It may import agent.cache, agent.vision, agent.learning, agent.reporting, and what lies below them. The trainer measures
with it too.
"""
