"""A retraining as a process, beside the frames.

retraining.py  the daemon's end: at most one child, its status, its pauses, its end
turns.py       of several tasks one retrains at a time, and the others wait in line
control.py     the child's end of the pipe by which it is told to pause
pausing.py     when it should, and that it does: heat, memory, frames that take too long

Read retraining first. What the child does is the command's own (agent/commands/retrain.py) and learning.training's.
Imports agent.board, agent.records, agent.reporting and agent.errors, and nothing else of learning.
"""
