"""What a library says from C++: it writes to the descriptor of stderr, and knows no log and no --verbose."""

import contextlib
import logging
import os
import tempfile
import threading
from collections.abc import Iterator

logger = logging.getLogger(__name__)

_REMARK = b"INFO: "  # what a line begins with that is for the library's own people
_STDERR = 2
_lock = threading.Lock()  # the descriptor is the process's


@contextlib.contextmanager
def remarks_logged() -> Iterator[None]:
    """What is written to stderr meanwhile comes out behind the block, but for remarks: they are logged as DEBUG.

    Errors and warnings, and what other threads wrote, come out as they were, whatever becomes of the block.
    """
    with _lock, contextlib.ExitStack() as stack:
        try:
            said = stack.enter_context(tempfile.TemporaryFile())
            kept = os.dup(_STDERR)
        except OSError:  # a full disk, or no stderr at all: then it is not worth an error
            yield
            return
        stack.callback(os.close, kept)
        os.dup2(said.fileno(), _STDERR)
        try:
            yield
        finally:
            os.dup2(kept, _STDERR)
            said.seek(0)
            for line in said:
                if line.startswith(_REMARK):
                    logger.debug("%s", line.decode("utf-8", "replace").strip())
                else:
                    os.write(_STDERR, line)
