"""Labelled pictures as people keep them, and which of them belong together.

dataset.py   folders, archives and lists of labelled pictures: begin here
labelled.py  one labelled picture, and the names that say what it is
leftout.py   what lies in a source and is not taken: by name, reason and class
tree.py      class folders, on disk or in an archive
folders.py   which folder above a picture is its class, and which its split
archive.py   a .zip, which may be forged, and whose names may be in anything
listing.py   a .csv or .tsv list, as spreadsheets write it
shards.py    tar shards, as the WebDataset library writes them
bursts.py    pictures that look the same or came together, by hash and time, and the side of a split that they fall on
sides.py     which examples are held back, because they look like what somebody put into val or test
spelling.py  labels that differ in so little that one of them may be a slip

They import agent.board.files, agent.errors, agent.records and, from agent.learning.training, what a split is, and open
no picture: whoever can decode does.
"""
