"""What the operating system gives, each alone, in no order.

    files       writing to flash so that a power cut leaves the old or the new
    history     which of several is in use, and which were before it
    child       a child process: started, heard, given a deadline, ended
    systemd     what systemd gives a service, and what it wants to hear
    allocator   memory that goes back to the system when it is freed

Stands on the ground: it imports agent.errors alone.
"""
