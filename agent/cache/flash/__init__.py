"""The files of a cache, and what is in them byte by byte; what it means is the business of the rooms above.

layout.py      records, and the first page of a segment: begin here, beside docs/cache.md
segment.py     a segment as a file: made, named, opened
segment_io.py  the records in it: written, read, and checked
reuse.py       segments that a compaction emptied, to be filled again
journal.py     the other file: what is said beside and after the records
wear.py        how much was written to them

They import agent.errors and agent.board.files.
"""
