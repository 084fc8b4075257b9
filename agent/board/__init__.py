"""What the operating system gives, each alone, in no order.

files.py        writing so that a power cut leaves the old or the new; reading what somebody named, bounded
secret.py       files with tokens, passwords and keys: what is in them, and whether they are kept
history.py      which of several is in use, and which were before it
interruption.py Ctrl-C and SIGTERM: what is under way ends once, in order
remarks.py      what a library writes to stderr from C++, as a log
child.py        a child process: started, heard, given a deadline, ended
systemd.py      what systemd gives a service, and what it wants to hear
confinement.py  what a process that opens what was sent may take, and that it outlives nobody
allocator.py    memory that goes back to the system when it is freed

Stands on the ground: it imports agent.errors alone.
"""
