"""The study's experiment: several settings of the solver on one cache, their curves, and which to take.

Imports no other room, but cluster.

sweep.py     the settings, and all their heads trained in one pass over the examples, here or spread out
heads.py     the arithmetic of a step, for several heads side by side
choice.py    the study's criterion
plots.py     its figures 8 to 11
"""
