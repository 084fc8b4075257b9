"""Every error that Lastlayer raises on purpose.

Each one is also a builtin, so that callers who know only Python can catch it, and
carries the exit code with which a command ends. A message says what was wrong,
where (file, key, frame), and what to do.
"""


class LastlayerError(Exception):
    """The root: catching it catches all that Lastlayer raises on purpose."""

    exit_code = 1


class ConfigError(LastlayerError, ValueError):
    """A configuration file or a command-line value that cannot be used."""

    exit_code = 2


class ImageError(LastlayerError, ValueError):
    """Bytes that are no picture, a torn picture, or one that is too large."""

    exit_code = 3


class LabelError(LastlayerError, ValueError):
    """A label that is empty, too long, or not plain text."""

    exit_code = 3


class UnknownLabelError(LabelError, LookupError):
    """A label that no example has."""


class DatasetError(LastlayerError, ValueError):
    """A folder, archive or list of labelled pictures that cannot be read."""

    exit_code = 3


class ParcelError(LastlayerError, ValueError):
    """Something that a desktop or a board sent and that cannot be understood."""

    exit_code = 3


class BundleError(LastlayerError, ValueError):
    """A backbone that cannot be loaded or does not fit its manifest."""

    exit_code = 4


class StateError(LastlayerError, OSError):
    """A state folder that cannot be read, written or trusted."""

    exit_code = 5


class MismatchError(StateError):
    """Things that were made with different backbones and must not be mixed."""


class BusyError(LastlayerError, RuntimeError):
    """Somebody else is at it, or there is too much to do just now: try again."""

    exit_code = 5


class UnknownFrameError(LastlayerError, LookupError):
    """A frame id that was never given out, or is no longer remembered."""

    exit_code = 3


class UnknownHeadError(LastlayerError, LookupError):
    """A head version that the store does not hold."""

    exit_code = 3


class UnknownBackboneError(LastlayerError, LookupError):
    """A backbone that a state never had."""

    exit_code = 3


class RefusedHeadError(LastlayerError, ValueError):
    """A head that did not pass the gate."""

    exit_code = 8


class TrainingError(LastlayerError, ValueError):
    """Examples from which no head can be made."""

    exit_code = 6


class ServiceError(LastlayerError, ConnectionError):
    """A socket that cannot be opened or a broker that cannot be reached."""

    exit_code = 7


class ChildError(LastlayerError, RuntimeError):
    """A process of our own that cannot be started, or says what nobody can use."""
