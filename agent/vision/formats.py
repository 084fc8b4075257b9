"""What the file of a picture says, read without decoding a pixel: which of its bytes decide the pixels, and how it is
turned.

All else that a file tells (who made it, when, how large it would be on paper, what it shows, other pictures behind it)
is left out before a decoder sees it: there it could only do harm. EXIF decides the orientation and nothing else.
"""

import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_END_OF_IMAGE = b"\xff\xd9"

# What comes after a marker in the data of a scan: 00 where a byte is 255, D0 to D7 where the decoder may start afresh.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_SOI, _EOI, _SOS, _TEM = 0xD8, 0xD9, 0xDA, 0x01
_FRAMES = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))
_SEQUENTIAL = (0xC0, 0xC1)
_TABLES = (0xC4, 0xCC, 0xDB, 0xDD)  # of codes, arithmetic, quantization; the restart interval
_BETWEEN_SCANS = (_SOS, *_TABLES, 0xDC, *range(0xE0, 0xF0), 0xFE)
_ORIENTATION = 0x0112
_WHOLE_NUMBERS = {3: "H", 4: "I"}  # types of EXIF


@dataclass(frozen=True, slots=True)
class Encoded:
    """A picture's file as far as it decides pixels."""

    payload: bytes
    head: bytes  # what a decoder needs to say how large it is
    exif: tuple[bytes, ...]

    def is_all(self) -> bool:
        """Whether a decoder needs no more and no less than the file as it came."""
        return True

    def content(self) -> bytes:
        """What a decoder needs for the pixels: a copy, unless that is all."""
        return self.payload


@dataclass(frozen=True, slots=True)
class Png(Encoded):
    chunks: tuple[memoryview, ...]
    depth: int  # bits of a value

    def is_all(self) -> bool:
        return sum(map(len, self.chunks)) == len(self.payload)

    def content(self) -> bytes:
        return self.payload if self.is_all() else b"".join(self.chunks)


@dataclass(frozen=True, slots=True)
class Jpeg(Encoded):
    """Its head goes as far as the data of its first scan."""

    begin: int  # of the first scan's data in the payload
    end: int  # of the last scan's
    ended: bool  # an end marker stands there
    one_scan: bool  # it comes line by line: sequential, all channels in one scan
    rows_at: int  # where the head has its number of rows, 2 bytes
    block_rows: int  # of pixels, that come at once
    channels: bytes  # their names
    scans: tuple[bytes, ...]  # what the header of each says

    def is_all(self) -> bool:
        return self.ended and len(self.head) == self.begin

    def content(self) -> bytes:
        return self.payload if self.is_all() else self.going_on(b"")

    def going_on(self, ending: bytes, rows: int | None = None) -> bytes:
        """With this behind its scans, before the end marker, and saying that it has so many rows."""
        head = self.head
        if rows is not None:
            head = head[: self.rows_at] + rows.to_bytes(2, "big") + head[self.rows_at + 2 :]
        return b"".join((head, memoryview(self.payload)[self.begin : self.end], ending, _END_OF_IMAGE))

    def is_complete(self) -> bool:
        """Whether each of the 64 coefficients of each channel has its scan, down to the last bit."""
        unsent = {(channel, coefficient) for channel in self.channels for coefficient in range(64)}
        for scan in self.scans:
            count = scan[0] if scan else 0
            first, last, bits = (*scan[1 + 2 * count :], 0, 0, 0)[:3]
            if bits & 15 == 0:
                unsent -= {(channel, at) for channel in scan[1 : 1 + 2 * count : 2] for at in range(first, last + 1)}
        return not unsent

    def next_restart(self) -> bytes:
        """The marker behind which its decoder would start afresh next."""
        markers = [bytes((0xFF, 0xD0 + number)) for number in range(8)]
        places = [self.payload.rfind(marker, self.begin, self.end) for marker in markers]
        return markers[(places.index(max(places)) + 1) % 8 if max(places) >= 0 else 0]


def read(payload: bytes) -> Encoded:
    """What a decoder is to be given of this file."""
    if payload.startswith(_PNG):
        return _read_png(payload)
    jpeg = _read_jpeg(payload) if payload.startswith(_JPEG) else None
    return jpeg or Encoded(payload, payload, _exif_of_webp(payload))


def _read_jpeg(payload: bytes) -> Jpeg | None:
    """None where no scan begins."""
    head, exif, at = bytearray(payload[:2]), [], 2
    begin, end, ended = 0, len(payload), False
    sequential, rows_at, channels, block_rows = False, 0, b"", 8
    scans: list[bytes] = []
    while found := _MARKER.search(payload, at):
        marker, at = payload[found.end() - 1], found.end()
        if marker == _TEM:
            continue
        size = int.from_bytes(payload[at : at + 2], "big")
        segment = payload[at + 2 : at + size]
        if begin and (marker not in _BETWEEN_SCANS or len(segment) != size - 2):
            end, ended = found.start(), marker == _EOI
            break
        if marker == _SOI:
            continue
        if marker == _EOI or size < 2 or len(segment) != size - 2:
            return None
        if marker in _FRAMES and len(segment) >= 9 and not begin:
            sequential, rows_at, channels = marker in _SEQUENTIAL, len(head) + 5, segment[6::3]
            block_rows = 8 * max(sampling & 15 for sampling in segment[7::3]) if len(channels) > 1 else 8
        if marker == _SOS:
            scans.append(segment)
        if marker == 0xE1 and segment.startswith(b"Exif\0\0"):
            exif.append(segment)
        if not begin and _decides_pixels(marker, segment):
            head += payload[at - 2 : at + size]
        at += size
        if marker == _SOS and not begin:
            begin = at
    if not begin:
        return None
    return Jpeg(
        payload,
        bytes(head),
        tuple(exif),
        begin,
        end if ended else begin + len(_without_padding(payload[begin:end])),
        ended,
        sequential and scans[0][:1] == bytes([len(channels)]),
        rows_at,
        block_rows,
        channels,
        tuple(scans),
    )


def _decides_pixels(marker: int, segment: bytes) -> bool:
    if marker == 0xE0:
        return segment.startswith(b"JFIF\0") and len(segment) >= 14  # its channels are then luma and chroma
    if marker == 0xEE:
        return segment.startswith(b"Adobe") and len(segment) >= 12  # says which channels there are
    return marker == _SOS or marker in _TABLES or marker in _FRAMES


def _without_padding(scans: bytes) -> bytes:
    """What pads a file that lacks its end is no data; but one zero may be the last byte of it."""
    bare = scans.rstrip(b"\xff")
    data = bare.rstrip(b"\0")
    return bare[: len(data) + 1] if len(bare) > len(data) else data


def _read_png(payload: bytes) -> Png:
    """Of the chunks that a decoder may skip only the transparent colours are left."""
    chunks, exif, head, at = [memoryview(payload)[:8]], [], b"", 8
    while at + 8 <= len(payload):
        size, name = struct.unpack_from(">I4s", payload, at)
        if not name.isalpha():
            break
        if name == b"eXIf":
            exif.append(payload[at + 8 : at + 8 + size])
        if name == b"IDAT" and not head:
            head = b"".join((*chunks, payload[at : at + 8]))
        if name[:1].isupper() or name == b"tRNS":
            chunks.append(memoryview(payload)[at : at + 12 + size])
        at += 12 + size
        if name == b"IEND":
            break
    return Png(payload, head or payload, tuple(exif), tuple(chunks), payload[24] if len(payload) > 24 else 8)


def _exif_of_webp(payload: bytes) -> tuple[bytes, ...]:
    exif, at = [], 12
    while payload.startswith(b"RIFF") and at + 8 <= len(payload):
        name, size = struct.unpack_from("<4sI", payload, at)
        if name == b"EXIF":
            exif.append(payload[at + 8 : at + 8 + size])
        at += 8 + size + size % 2
    return tuple(exif)


def orientation(exifs: Iterable[bytes]) -> int:
    """From 1, upright, to 8: what the first of them says that is whole and says any."""
    return next(filter(None, map(_orientation, exifs)), 1)


def _orientation(exif: bytes) -> int | None:
    tiff = exif[6:] if exif.startswith(b"Exif\0\0") else exif
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 8:
        return None
    (at,) = struct.unpack_from(order + "I", tiff, 4)
    if at + 2 > len(tiff):
        return None
    (count,) = struct.unpack_from(order + "H", tiff, at)
    entries = tiff[at + 2 : at + 2 + 12 * count]
    if len(entries) < 12 * count:
        return None
    for place in range(0, len(entries), 12):
        tag, kind, values = struct.unpack_from(order + "HHI", entries, place)
        if tag == _ORIENTATION and values == 1 and kind in _WHOLE_NUMBERS:
            (value,) = struct.unpack_from(order + _WHOLE_NUMBERS[kind], entries, place + 8)
            if 1 <= value <= 8:
                return int(value)
    return None
