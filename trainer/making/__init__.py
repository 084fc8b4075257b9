"""Training networks. Imports networks.

pretrain.py finetune.py       the two ways: from nothing by the clock, or what was trained on something else
course.py                     what both go through: checkpoint, pictures, figures
loop.py                       their terms, and the steps with their curves
checkpoint.py                 a training on disk
devices.py                    what Keras computes on, in which precision
batches.py views.py           what a step learns from, made ahead
corpus.py                     pictures in memory
lessons.py teacher.py         what a teacher says of them
"""
