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

They import agent.board.files, agent.errors and agent.records alone, and open no picture: whoever can decode does.
"""
