"""Boards as a desktop reaches them. Imports no other room.

boards.py      a board, over HTTP; a parcel for several of them
mqtt.py        a board through the broker that it reports to
collect.py     the examples of many in one cache
"""
