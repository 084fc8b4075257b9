"""What the trainer's command line can do: a module for each command, with `register` and the work itself.

pretrain.py finetune.py export.py                 networks
bottlenecks.py evaluate.py sweep.py               many pictures, many settings
bench.py compare.py                               beside the study
collect.py publish.py, and fleet.py for both      boards
arguments.py                                      what several of them take

Each imports the rooms that it needs when it runs: --help must not wait for Keras, and what the trainer extra brings may
be missing. They do not import each other.
"""
