"""Heads on flash, and which of them may go into service.

report.py     what is known of a head beside itself: of what types it is, and as it lies on flash
store.py      every head in a folder of its own, and the one in service
gate.py       whether a new head is good enough
admission.py  a new head on its way: stored, judged, activated

It may import solving, training and what lies below them.
"""
