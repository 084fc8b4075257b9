"""Who is connected, and who must go when the next one has no room."""

import socket
import threading
import time
from dataclasses import dataclass, field

from agent.ingress.http.doors import Door, shut


@dataclass(eq=False, slots=True)
class Guest:
    """A connection as the server sees it. The flags are set by its own thread alone."""

    socket: socket.socket
    door: Door
    peer: str
    since: float = field(default_factory=time.monotonic)  # when it began to wait, or its request began
    idle: bool = False  # waits for a request to begin
    served: bool = False  # a request of it was read to its end
    answering: bool = False
    thread: threading.Thread | None = None


class Crowd:
    """Thread-safe. `evicted` counts those who had to make room for another, `refused` those for whom there was none."""

    def __init__(self) -> None:
        self.evicted = 0
        self.refused = 0
        self._guests: dict[Door, set[Guest]] = {}
        self._lock = threading.Lock()

    def guests(self) -> list[Guest]:
        with self._lock:
            return [guest for behind in self._guests.values() for guest in behind]

    def admit(self, guest: Guest) -> bool:
        """Whether there is room behind its door. Where that is full, another is sent away.

        Who never finished a request goes first, then who is silent for longest; who is being answered stays.
        """
        with self._lock:
            behind = self._guests.setdefault(guest.door, set())
            if len(behind) >= guest.door.capacity:
                waiting = [other for other in behind if not other.answering]
                if not waiting:
                    self.refused += 1
                    return False
                victim = min(waiting, key=lambda other: (other.served, other.since))
                behind.discard(victim)
                shut(victim.socket, socket.SHUT_RDWR)  # its thread finds that out, and ends
                self.evicted += 1
            behind.add(guest)
            return True

    def leave(self, guest: Guest) -> None:
        with self._lock:
            self._guests.setdefault(guest.door, set()).discard(guest)
        guest.door.part(guest.socket)
