"""Frames from a watched folder.

watching.py  the face: what a scan finds, and what inotify tells sooner, is classified and put away
files.py     pictures in a folder into which others write: found, read, put away
inotify.py   three system calls, and a wait that another thread can end
"""
