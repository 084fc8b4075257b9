"""The cache: the examples on flash. docs/cache.md describes its files. Begin with `cache`.

cache, asking       what others call: append, relabel, delete; and what can be asked of it
appending, changes  what is written: records with their syncs, and what is said about them later
reading             examples from flash, as a training asks for them and in pages
contents            what is known of them in memory, as a whole
bookkeeping         the same of each segment
opening             how it is found at the start
space, quota        room: segments, and who goes where there is none left
compaction          segments made anew
upkeep, wear        the thread that sees to it, and what was written to flash
checking            whether all of it is intact
splits              on which side of a split a picture fell when it was learnt
flash               the files, byte by byte

It may import agent.learning, whose Examples it gives and whose groups it keeps, agent.config and agent.board.
"""

from agent.cache.cache import Cache
from agent.cache.flash.layout import Layout
from agent.cache.reading import CachedExamples

__all__ = ["Cache", "CachedExamples", "Layout"]
