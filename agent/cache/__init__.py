"""The cache: the examples on flash.

cache.py                          what others call: append, relabel, delete, examples
layout.py header.py               records, and the first page of a segment
segment.py segment_io.py          segments: the files, and the records in them
journal.py                        the other file
bookkeeping.py names.py           what is known of them in memory
contents.py opening.py            the same as a whole, and how it is found at the start
appending.py changes.py           what is written: records with their syncs, and what is said about them later
reading.py                        bottlenecks, as a training asks for them
space.py quota.py                 room, and how much of it
compaction.py reuse.py            segments made anew, and files that are used again
upkeep.py wear.py checking.py     what looks after it all
"""

from agent.cache.cache import Cache
from agent.cache.reading import CachedExamples

__all__ = ["Cache", "CachedExamples"]
