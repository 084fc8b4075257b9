"""The cache: the examples on flash.

cache.py                          what others call: append, relabel, delete, examples
segment.py journal.py             the files, as bytes
bookkeeping.py names.py           what is known of them in memory
contents.py opening.py            the same as a whole, and how it is found at the start
appending.py changes.py           what is written: records with their syncs, and what is said about them later
reading.py                        bottlenecks, as a training asks for them
space.py quota.py compaction.py   room: the quota, and segments made anew
upkeep.py wear.py checking.py     what looks after it all
"""

from agent.learning.cache.cache import Cache
from agent.learning.cache.reading import CachedExamples

__all__ = ["Cache", "CachedExamples"]
