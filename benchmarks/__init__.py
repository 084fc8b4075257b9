"""Measurements side by side, each runnable alone: python -m benchmarks.NAME; all of them: python -m benchmarks.

A benchmark makes what it measures, measures it beside a peer where there is one, and gives rows, some with a goal.
Begin with rows.py, then frame.py.

On the ground, for all:

rows.py          what a benchmark finds, in one form: ours, the peer's, their ratio, the goal
pictures.py      a photograph to send, and pictures to teach a head with
daemon.py        a real daemon in a process of its own, and who asks it
steady.py        frames at a steady rate, in turn alone and beside a retraining that never ends
peers.py         what others offer for the last layer
sets.py          bottlenecks to retrain heads on
synthetic.py     a state of made-up bottlenecks, to sweep and to retrain on; runnable, and measures nothing

Of the running service:

frame.py         a frame over HTTP, beside decoding and invoking alone
interference.py  the same beside a retraining
tasks.py         several views, several tasks, and frames that show nothing new
slow_clients.py  the same beside clients that never finish
mqtt_stream.py   more frames over MQTT than the board can classify
footprint.py     memory, its growth, and the time to the first answer

Of learning:

cache.py         reading the cache, beside the study's text files and plain preadv
device.py        bytes that go to the device for a durable example, beside SQLite
step.py          a training step, beside plain numpy, pycoral's rule and torch
epoch.py         an epoch of the study, beside its own scheme
retraining.py    the default, beside the study's setting and what others offer
update.py        ten changes by kept statistics, beside a retraining from the start
scale.py         time and memory of a retraining by the number of examples
sweep.py         six settings on one cache, beside one
transfer.py      what a backbone's bottlenecks are worth on other pictures

No benchmark imports another one. They may import the agent, the trainer, and the demo's broker; what a benchmark needs
of the tests is a device to count bytes of.
"""
