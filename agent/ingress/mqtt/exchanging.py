"""What a desktop and this board exchange over MQTT: its examples there, heads and backbones here.

A desktop publishes on exchange/<what>/<key>, with a key of its own, and hears on exchanged/<key>. Of a board with
several tasks one is meant by exchange/<what>/<key>/<task>.

    examples   {"start": "…", "limit": 256} → a parcel with a page of examples
    head       a parcel with a head         → {"ok": true, "version", "accepted", "reason"}
    backbone   a parcel with a backbone     → {"ok": true, "bundle", "in_use", "accepted"}

What is refused is answered with {"ok": false, "error": "…"}. A page holds no more than the broker lets through at once.
"""

import json
import logging
import re
from collections.abc import Callable
from typing import Any

from agent.errors import LastlayerError, ParcelError
from agent.service.exchange import Exchange
from agent.service.tasks import Tasks
from agent.state.parcels import PAGE_EXAMPLES

log = logging.getLogger(__name__)

MAX_QUESTION_BYTES = 4096

_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")


def is_key(text: str) -> bool:
    """Whether a desktop may call an exchange so: it becomes a level of a topic."""
    return _KEY.fullmatch(text) is not None


def answer(tasks: Tasks, task: str | None, what: str, payload: bytes, room: int) -> bytes:
    """The parcel or the JSON that is answered; a parcel takes `room` bytes at most. Never raises."""
    try:
        return _answer(tasks.one(task).exchange, what, payload, room)
    except LastlayerError as error:
        return refusal(str(error))
    except Exception:
        log.exception("the exchange of %.40r failed", what)
        return refusal("an error of the service; its log says which")


def refusal(error: str) -> bytes:
    return _json({"ok": False, "error": error})


def _answer(exchange: Exchange, what: str, payload: bytes, room: int) -> bytes:
    takes: dict[str, Callable[[bytes], dict[str, Any]]] = {
        "head": exchange.take_head,
        "backbone": exchange.take_backbone,
    }
    if what == "examples":
        return _page(exchange, *_asked(payload), room)
    if what not in takes:
        raise ParcelError(f"{what[:40]!r} is not exchanged; what is: examples, {', '.join(takes)}")
    return _json({"ok": True, **takes[what](payload)})


def _page(exchange: Exchange, start: str, limit: int, room: int) -> bytes:
    """As many of the examples that are asked for as find room."""
    while len(page := exchange.page(start, limit)) > room:
        if limit == 1:
            raise ParcelError(
                f"a page with one example takes {len(page)} bytes, and the MQTT broker allows {max(0, room)}: raise "
                "its limit (max_packet_size in mosquitto), or ask the board over HTTP"
            )
        limit = max(1, min(limit - 1, limit * room // len(page)))
    return page


def _asked(payload: bytes) -> tuple[str, int]:
    """Where the page starts, and how many examples it may hold."""
    try:
        asked = json.loads(payload) if len(payload) <= MAX_QUESTION_BYTES else None
    except (ValueError, RecursionError):
        asked = None
    if not isinstance(asked, dict) or asked.keys() - {"start", "limit"}:
        raise ParcelError('a page is asked for with {"start": "…", "limit": …}')
    start, limit = asked.get("start", "0"), asked.get("limit", PAGE_EXAMPLES)
    if not isinstance(start, str) or type(limit) is not int or not 1 <= limit <= PAGE_EXAMPLES:
        raise ParcelError(f"start must be a frame id in hex, and limit a number from 1 to {PAGE_EXAMPLES}")
    return start, limit


def _json(payload: dict[str, Any]) -> bytes:
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
