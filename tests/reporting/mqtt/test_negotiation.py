"""What broken connections show of a broker that does not say what it takes."""

from agent.reporting.mqtt.capabilities import MAX_PACKET_BYTES
from agent.reporting.mqtt.negotiation import FORGET_S, LEAST_BYTES, TIMES, Breaks


def test_a_packet_is_suspected_after_it_broke_some_connections_in_a_row() -> None:
    breaks = Breaks()
    large = 5000
    for ended in [(0, large), (0, large), (large, 100), (0, large), (0, large)]:
        assert not breaks.note(*ended, said_so=False)
    assert breaks.most == MAX_PACKET_BYTES
    assert breaks.note(10, large, said_so=False)
    assert breaks.most == large - 1


def test_connections_that_break_over_little_or_over_nothing_show_nothing() -> None:
    breaks = Breaks()
    for ended in [(0, 0), (LEAST_BYTES, LEAST_BYTES), (0, LEAST_BYTES - 1)]:
        for _ in range(3 * TIMES):
            assert not breaks.note(*ended, said_so=False)
    assert breaks.most == MAX_PACKET_BYTES


def test_a_broker_that_gives_the_size_as_its_reason_is_believed_at_once() -> None:
    breaks = Breaks()
    assert not breaks.note(0, 0, said_so=True)
    assert breaks.note(0, 500, said_so=True)
    assert breaks.most == 499


def test_what_was_concluded_is_tried_again_after_a_while() -> None:
    now = [0.0]
    breaks = Breaks(lambda: now[0])
    breaks.note(0, 5000, said_so=True)
    now[0] = FORGET_S - 1
    assert breaks.most == 4999
    now[0] = FORGET_S + 1
    assert breaks.most == MAX_PACKET_BYTES
