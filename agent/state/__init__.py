"""What one board has, in a folder that holds everything it needs and can be copied.

state.py        the folder: a backbone, the cache, the heads
generations.py  a state that gets another backbone keeps the one before, with its examples and heads
tasks.py        a state holds several tasks, each in a folder of that form
renaming.py     one of them gets another name, and keeps what it has learnt
parcels.py      what travels between a desktop and its boards
arrivals.py     what was sent here is taken in, if it fits

It may import cache, vision, learning and what lies below them. Nothing is imported here: the generations are asked for
where the TFLite runtime, which the state needs, may be missing.
"""
