import contextlib
import http.client
import json
import re
import select
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import ServiceError
from agent.ingress.http.crowd import Crowd
from agent.ingress.http.doors import TcpDoor
from agent.ingress.http.message import Reply, Request, Stream
from agent.ingress.http.server import Server
from tests.ingress.http.serving import connect, echo, exchange, port, serving
from tests.waiting import until


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = serving()
    yield server
    server.stop(5)


def test_a_request_is_answered(server: Server) -> None:
    answer = exchange(
        connect(server), b"POST /v1/frames?camera=door&label=a%20b HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"
    )
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert body == (
        b'{"method": "POST", "path": "/v1/frames", "query": {"camera": "door", "label": "a b"}, '
        b'"size": 5, "start": "hello"}'
    )


def test_one_connection_serves_many_requests(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port(server), timeout=20)
    for size in (0, 1, 99_999, 100_000):
        connection.request("POST", "/", b"x" * size)
        response = connection.getresponse()
        assert (response.status, f'"size": {size}'.encode() in response.read()) == (200, True)
    connection.close()


@pytest.mark.parametrize(
    ("version", "header", "closes"),
    [
        (b"1.1", b"", False),
        (b"1.1", b"Connection: close\r\n", True),
        (b"1.0", b"", True),
        (b"1.0", b"Connection: Keep-Alive\r\n", False),
    ],
)
def test_a_connection_is_kept_or_closed_as_asked(server: Server, version: bytes, header: bytes, closes: bool) -> None:
    answer = exchange(connect(server), (b"GET / HTTP/%s\r\n%s\r\n" % (version, header)) * 2)
    assert answer.count(b"200 OK") == (1 if closes else 2)
    assert (b"Connection: close" in answer) is closes


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x", "Text/Plain"])
def test_a_body_in_which_a_picture_is_packed_may_be_half_as_large_again(server: Server, kind: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port(server), timeout=20)
    connection.request("POST", "/", b"x" * 150_000, {"Content-Type": kind})
    response = connection.getresponse()
    assert (response.status, b'"size": 150000' in response.read()) == (200, True)
    connection.close()


def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    answer = exchange(connect(server), b"".join(b"GET /%d HTTP/1.1\r\n\r\n" % number for number in range(20)))
    assert [f'"/{number}"' in answer.decode() for number in range(20)] == [True] * 20
    assert answer.find(b'"/3"') < answer.find(b'"/4"')


def test_a_chunked_body_is_put_together(server: Server) -> None:
    request = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = exchange(
        connect(server), request + b"5;name=value\r\nhello\r\n2\r\n, \r\n5\r\nworld\r\n0\r\nTrailer: x\r\n\r\n"
    )
    assert b'"size": 12, "start": "hello, wor"' in answer


def test_an_address_may_be_sent_as_it_was_typed(server: Server) -> None:
    request = "POST /v1/labels/Gläser/rename?camera=Küche HTTP/1.1\r\n\r\n"
    answer = json.loads(exchange(connect(server), request.encode()).partition(b"\r\n\r\n")[2])
    assert (unquote(answer["path"]), answer["query"]) == ("/v1/labels/Gläser/rename", {"camera": "Küche"})


@pytest.mark.parametrize("left_over", [b"\r\n", b"\n"])
def test_an_empty_line_behind_a_body_belongs_to_nothing(server: Server, left_over: bytes) -> None:
    request = b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello" + left_over
    assert exchange(connect(server), request * 2).count(b'"size": 5') == 2


def test_a_request_may_come_byte_by_byte(server: Server) -> None:
    with connect(server) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"\r\nPOST / HTTP/1.1\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n":
            connection.sendall(bytes([byte]))
        assert b'"start": "abc"' in connection.recv(1000)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhi", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\nhi", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1e1\r\n\r\nhi", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\nhi", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi!", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nhi", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\nhi", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhe", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\nhe", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n" + b"x" * 100_001, 413),
        (b"POST / HTTP/1.1\r\nContent-Length: 100001\r\n\r\nhi", 413),
        (b"POST / HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 150001\r\n\r\nhi", 413),
        (b"POST / HTTP/1.1\r\nContent-Type: multipart/x\r\nContent-Length: 150001\r\n\r\nhi", 413),
        (b"POST / HTTP/1.1\r\nContent-Type: image/jpeg\r\nContent-Length: 100001\r\n\r\nhi", 413),
        (b"POST /?a=%ff HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 400),
        (b"POST /?" + b"&".join(b"a%d=1" % n for n in range(30)) + b" HTTP/1.1\r\n\r\n", 400),
        (b"BREW / HTTP/1.1\r\n\r\n", 501),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + b"".join(b"H%d: 1\r\n" % n for n in range(200)) + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: b", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\nContent-Length : 5\r\n\r\nhello", 400),
        (b"POST / HTTP/1.1\r\nA: b\r\n Content-Length: 5\r\n\r\nhello", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * 10_000 + b"\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\n\r\n", 400),
        (b"GET http://elsewhere/ HTTP/1.1\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"rubbish\r\n\r\n", 400),
    ],
)
def test_a_bad_request_is_refused_in_json(server: Server, request_bytes: bytes, status: int) -> None:
    answer = exchange(connect(server), request_bytes)
    assert f" {status} ".encode() in answer.split(b"\r\n")[0]
    assert b'{"error": "' in answer
    assert b'"size"' in exchange(connect(server), b"GET / HTTP/1.1\r\n\r\n"), "it goes on serving"


@pytest.mark.parametrize("request_bytes", [b"GARBAGE\r\n\r\n", b"GET / HTTP/1.1\r\nGARBAGE\r\n\r\n"])
def test_what_cannot_be_read_is_named_in_words(server: Server, request_bytes: bytes) -> None:
    said = json.loads(exchange(connect(server), request_bytes).partition(b"\r\n\r\n")[2])["error"]
    assert re.fullmatch("the request cannot be read: illegal (request|header) line", said)


def test_who_asks_before_sending_a_body_is_answered_first(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 100")
        connection.sendall(b"hello")
        assert b'"size": 5' in connection.recv(1000)


def test_who_asks_before_sending_too_large_a_body_is_refused_at_once(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nContent-Length: 500000\r\nExpect: 100-continue\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 413")


def test_a_client_that_sends_too_large_a_body_can_read_why(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port(server), timeout=20)
    connection.request("POST", "/", b"x" * 5_000_000)
    response = connection.getresponse()
    assert (response.status, b"100000" in response.read()) == (413, True)
    connection.close()


def test_a_slow_request_is_let_go(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\n")
        connection.settimeout(0.1)
        answer = b""
        began = time.monotonic()
        while b"408" not in answer and time.monotonic() - began < 20:
            try:
                connection.sendall(b"x")  # a byte now and then does not put off the deadline
                answer += connection.recv(1000)
            except TimeoutError:
                pass
        assert answer.startswith(b"HTTP/1.1 408")


def test_half_open_and_trickling_clients_do_not_starve_honest_ones() -> None:
    door = TcpDoor("127.0.0.1", 0)
    door.capacity = 40
    server = serving(door, timeout_s=20)
    crowd = [connect(server) for _ in range(120)]
    for connection in crowd:
        connection.sendall(b"POST / HTTP/1.1\r\nContent-Le")
    for number in range(30):
        for connection in crowd[::2]:
            with contextlib.suppress(OSError):  # it had to make room
                connection.send(b"n")
        assert b'"size": 9' in exchange(connect(server), b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n%09d" % number)
    server.stop(5)
    for connection in crowd:
        connection.close()


class Slow:
    """Answers /slow when it is released."""

    def __init__(self) -> None:
        self.entered, self.release = threading.Event(), threading.Event()

    def __call__(self, request: Request) -> Reply:
        if request.path == "/slow":
            self.entered.set()
            self.release.wait(20)
        return echo(request)


def test_who_is_silent_makes_room_and_who_is_being_answered_stays() -> None:
    door, crowd, slow = TcpDoor("127.0.0.1", 0), Crowd(), Slow()
    door.capacity = 4
    server = serving(door, answer=slow, crowd=crowd, timeout_s=20)
    honest, silent, half, answered = (connect(server) for _ in range(4))

    def ask(connection: socket.socket) -> bytes:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        return connection.recv(1000)

    assert b"200" in ask(honest)
    half.sendall(b"POST / HTTP/1.1\r\nContent-Le")
    answered.sendall(b"GET /slow HTTP/1.1\r\n\r\n")
    assert slow.entered.wait(20)
    until(
        lambda: [guest.idle for guest in crowd.guests()].count(True) == 2, 20
    )  # the half request was begun to be read
    newcomers = [connect(server), connect(server)]  # in the places of those who never finished a request
    assert [b"200" in ask(newcomer) for newcomer in newcomers] == [True, True]
    assert (silent.recv(10), half.recv(10)) == (b"", b"")
    newcomers.append(connect(server))  # in that of the idlest
    assert b"200" in ask(newcomers[2])
    assert honest.recv(10) == b""
    assert [b"200" in ask(newcomer) for newcomer in newcomers] == [True, True, True]
    slow.release.set()
    assert b'"/slow"' in answered.recv(1000)
    assert (crowd.evicted, crowd.refused) == (3, 0)
    server.stop(20)
    for connection in (honest, silent, half, answered, *newcomers):
        connection.close()


def test_there_is_no_room_while_all_are_being_answered() -> None:
    door, crowd, slow = TcpDoor("127.0.0.1", 0), Crowd(), Slow()
    door.capacity = 1
    server = serving(door, answer=slow, crowd=crowd, timeout_s=20)
    with connect(server) as answered:
        answered.sendall(b"GET /slow HTTP/1.1\r\n\r\n")
        assert slow.entered.wait(20)
        with connect(server) as refused:
            assert refused.recv(10) == b""
        slow.release.set()
        assert b"200" in answered.recv(1000)
    assert crowd.refused == 1
    server.stop(20)


def test_an_error_of_a_connection_ends_only_that(server: Server) -> None:
    for _ in range(20):
        connection = connect(server)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.sendall(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhel")
        connection.close()  # with a reset
    assert b"200" in exchange(connect(server), b"GET / HTTP/1.1\r\n\r\n")


def test_a_stop_lets_requests_under_way_be_answered_and_ends_idle_connections() -> None:
    entered, release = threading.Event(), threading.Event()

    def slow(request: Request) -> Reply:
        entered.set()
        release.wait(20)
        return Reply(200, {"done": True})

    server = serving(answer=slow, timeout_s=20)
    idle = connect(server)
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(exchange, connect(server), b"GET / HTTP/1.1\r\n\r\n")
        assert entered.wait(20)
        stopped = pool.submit(server.stop, 20)
        assert idle.recv(10) == b""
        release.set()
        assert b'"done": true' in answer.result(20)
        stopped.result(20)
    idle.close()
    with pytest.raises(ConnectionRefusedError):
        connect(server)


def test_a_port_in_use_is_refused(server: Server) -> None:
    with pytest.raises(ServiceError, match=f"port {port(server)}, is in use.*http.port"):
        TcpDoor("127.0.0.1", port(server))


def test_head_is_answered_as_get_without_the_body(server: Server) -> None:
    got, headed = (exchange(connect(server), b"%s / HTTP/1.1\r\n\r\n" % method) for method in (b"GET", b"HEAD"))
    head, _, body = got.partition(b"\r\n\r\n")
    assert body
    assert headed == head + b"\r\n\r\n"


def test_a_stream_is_sent_as_it_comes_and_closed_when_the_client_goes() -> None:
    more, closed = threading.Event(), threading.Event()

    def parts() -> Iterator[bytes]:
        try:
            yield b"first"
            more.wait(20)
            while True:
                yield b"x" * 10_000
        finally:
            closed.set()

    server = serving(answer=lambda request: Stream(parts(), "text/event-stream"))
    with connect(server) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        said = b""
        while not said.endswith(b"first"):
            said += connection.recv(1000)
    more.set()
    assert closed.wait(20)
    server.stop(5)


@given(st.binary(max_size=300))
def test_whatever_bytes_come_are_answered_or_dropped(server: Server, request_bytes: bytes) -> None:
    answer = exchange(connect(server), request_bytes)
    assert answer == b"" or re.match(rb"HTTP/1\.1 [2345]\d\d ", answer)
    assert b" 500 " not in answer


_PIECES = st.sampled_from(
    b"GET|POST| |/|?a=%| HTTP/1.1|\r\n|\n|Content-Length: 3|Host:|Expect: |100-continue|Transfer-Encoding: chunked|"
    b"0\r\n\r\n|ffffffff|\0|\xff|Connection: close".split(b"|")
)


@given(st.lists(_PIECES | st.binary(max_size=5), max_size=20))
def test_whatever_looks_like_requests_is_answered_in_whole_replies(server: Server, pieces: list[bytes]) -> None:
    answer = exchange(connect(server), b"".join(pieces) + b"\r\n\r\n")
    while answer:
        head, found, rest = answer.partition(b"\r\n\r\n")
        assert found and re.match(rb"HTTP/1\.1 (100|[245]\d\d) ", head)
        length = re.search(rb"Content-Length: (\d+)", head)
        answer = rest[int(length[1]) :] if length else rest


@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_take_so_much_memory_together_and_no_more(chunked: bool) -> None:
    server = serving(timeout_s=20, max_body_bytes=500_000)  # four of the largest
    if chunked:
        heading = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        body = b"186A0\r\n" + b"x" * 100_000 + b"\r\n"
        almost, last = body * 4 + body[:1000], body[1000:] + b"0\r\n\r\n"
    else:
        heading = b"POST / HTTP/1.1\r\nContent-Length: 500000\r\n\r\n"
        almost, last = b"x" * 490_000, b"x" * 10_000
    crowd = [connect(server) for _ in range(12)]
    for connection in crowd:
        connection.sendall(heading + almost)
    refused = until(lambda: [c for c in crowd if select.select([c], [], [], 0)[0]], 20)
    assert refused[0].recv(1000).startswith(b"HTTP/1.1 503")
    assert b'"size": 5' in exchange(connect(server), b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello")
    for connection in crowd:
        connection.close()
    # What was taken is given back.
    until(lambda: b'"size": 500000' in exchange(connect(server), heading + almost + last), 20)
    server.stop(5)


def test_who_does_not_take_the_answer_is_let_go() -> None:
    crowd = Crowd()
    server = serving(answer=lambda request: Reply(200, bytes(50_000_000)), crowd=crowd)
    with connect(server) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        until(lambda: connection.recv(100, socket.MSG_PEEK).startswith(b"HTTP/1.1 200"), 20)
        until(lambda: not crowd.guests(), 20)
        with contextlib.suppress(ConnectionResetError):
            while part := connection.recv(1 << 20):
                assert b"HTTP/1.1 408" not in part
    server.stop(5)
