"""The cache: the examples on flash. docs/cache.md describes its files. Begin with cache.py.

cache.py asking.py       what others call: append, relabel, delete; and what can be asked of it
appending.py changes.py  what is written: records with their syncs, and what is said about them later
reading.py               examples from flash, as a training asks for them and in pages
contents.py              what is known of them in memory, as a whole
part.py                  the same of each segment, and how it is read from there
bookkeeping.py           what was said of records later, as it changes the parts, and what these hold
opening.py               how it is found at the start
space.py quota.py        room: segments, and who goes where there is none left
compaction.py            segments made anew
upkeep.py                the thread that sees to it
checking.py              whether all of it is intact
splits.py                on which side of a split a picture fell when it was learnt
flash/                   the files, byte by byte

It may import agent.learning, whose Examples it gives and whose groups it keeps, agent.config and agent.board.
"""

from agent.cache.cache import Cache
from agent.cache.flash.layout import Layout
from agent.cache.reading import CachedExamples

__all__ = ["Cache", "CachedExamples", "Layout"]
