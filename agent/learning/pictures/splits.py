"""Which of train, val and test an example belongs to: decided once, by what it is, never by chance."""

import hashlib

from agent.records import Split


def split_of(key: bytes) -> Split:
    """80 % train, 10 % val, 10 % test, by a hash of `key`.

    The key is what must stay on one side: the digest of a picture's bytes, or the name of the
    burst that it is part of. The same key gives the same answer on every machine and however
    many pictures are added.
    """
    digest = hashlib.blake2b(key, digest_size=8, person=b"lastlayer-split").digest()
    tenth = int.from_bytes(digest, "big") * 10 >> 64
    return "train" if tenth < 8 else "val" if tenth == 8 else "test"
