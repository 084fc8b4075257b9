"""What the operating system gives, and what lies on its flash.

files.py      a file is replaced by the new one whole, or stays as it was
history.py    which of several is in use, and which were before it
children.py   what a child process needs
systemd.py    what systemd gives a service, and what it wants to hear
allocator.py  the C library's memory

It may import errors.py alone.
"""
