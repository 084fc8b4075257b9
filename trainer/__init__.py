"""Lastlayer's trainer: makes and exports backbones on a desktop, and does the heavy counting.

From the ground up; an import goes down, never up or round. All may import the agent as far as its daemon.

quiet.py        silence for libraries that write to the terminal
reporting.py    how long phases take, live over MQTT
cluster.py      processes that share out work, here or on many machines
networks/       networks of Keras, as backbones: what was trained elsewhere, and our own
making/         training them
exporting/      a bundle of one: cut, quantized, verified
bulk/           bottlenecks of a whole corpus, and heads on a whole test set
sweeping/       several settings of the solver on one cache, side by side
comparing/      what several platforms measured, beside the study
fleet/          boards over HTTP and MQTT: what they learnt comes together, and goes out again
commands/       what a person types, a module each
cli.py          `lastlayer-trainer`

Exporting stands on making, and making on networks; bulk, sweeping, comparing and fleet do not know each other.
"""
