"""Labelled pictures as people keep them, and which of them belong together.

dataset.py  folders, archives and lists of labelled pictures: begin here
shards.py   the same in tar shards, as the WebDataset library writes them
bursts.py   pictures that look the same or came together, by hash and time, and the side of a split that they fall on

They import agent.board.files, agent.errors and agent.records alone, and open no picture: whoever can decode does.
"""
