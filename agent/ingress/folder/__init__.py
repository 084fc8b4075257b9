"""Frames from a watched folder.

watching.py  the face: what a scan finds, and what inotify tells sooner, is classified and put away
folders.py   the folders below it, at any depth: found, and watched
files.py     pictures in a folder into which others write: found, read, put away
settling.py  what changes still, and waits for being looked at again
inotify.py   three system calls, and a wait that another thread can end
"""
