"""A server that answers whatever it was told to, byte by byte."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

Answer = Callable[[socket.socket, str], None]  # gets the connection and what was asked for, such as "/v1/examples?…"


@contextmanager
def answering(answer: Answer, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Its URL. Each connection gets one answer to each of its requests, and is closed when `answer` raises OSError."""
    stopping = threading.Event()
    served: list[tuple[threading.Thread, socket.socket]] = []

    def serve(connection: socket.socket) -> None:
        with ExitStack() as stack, suppress(OSError):
            stack.enter_context(connection)
            connection.settimeout(5)
            if tls is not None:
                connection = stack.enter_context(tls.wrap_socket(connection, server_side=True))
            while not stopping.is_set():
                request = b""
                while b"\r\n\r\n" not in request:
                    received = connection.recv(65536)
                    if not received:
                        return
                    request += received
                answer(connection, request.split(b" ", 2)[1].decode())

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)

        def accept() -> None:
            while not stopping.is_set():
                with suppress(TimeoutError):
                    connection, _ = listener.accept()
                    thread = threading.Thread(target=serve, args=[connection], name="wicked")
                    thread.start()
                    served.append((thread, connection))

        accepting = threading.Thread(target=accept, name="wicked-accept")
        accepting.start()
        try:
            yield f"{'http' if tls is None else 'HTTPS'}://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            stopping.set()
            accepting.join()
            for thread, connection in served:
                with suppress(OSError):  # it is closed already
                    connection.shutdown(socket.SHUT_RDWR)
                thread.join()


def reply(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """A whole answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def endlessly(connection: socket.socket, block: bytes, pause: threading.Event | None = None) -> None:
    """The block again and again, until nobody takes it any more, a moment apart where a `pause` is given."""
    while True:
        connection.sendall(block)
        if pause is not None:
            pause.wait(0.02)
