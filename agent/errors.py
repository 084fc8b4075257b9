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


class InputError(LastlayerError, ValueError):
    """What somebody handed in and that cannot be used: one of those below."""

    exit_code = 3


class ImageError(InputError):
    """Bytes that are no picture, a torn picture, or one that is too large."""


class BottleneckError(ImageError):
    """A picture of which the backbone makes no numbers that can be learnt from."""


class LabelError(InputError):
    """A label that is empty, too long, or not plain text."""


class SimilarLabelError(LabelError):
    """A new label that may be a slip for one that is known: whoever means it says so."""


class UnnamedError(InputError):
    """Several tasks or views could be meant: one of them must be named."""


class DatasetError(InputError):
    """A folder, archive or list of labelled pictures that cannot be read."""


class ParcelError(InputError):
    """Something that a desktop or a board sent and that cannot be understood."""


class UnknownError(LastlayerError, LookupError):
    """A name of something that is not there: one of those below, or UnknownLabelError."""

    exit_code = 3


class UnknownFrameError(UnknownError):
    """A frame id that was never given out, or is no longer remembered."""


class UnknownHeadError(UnknownError):
    """A head version that the store does not hold."""


class UnknownBackboneError(UnknownError):
    """A backbone that a state never had."""


class UnknownTaskError(UnknownError):
    """A task or a view that is not there, or a camera that none looks at."""


class UnknownLabelError(LabelError, UnknownError):
    """A label that no example has."""


class BundleError(LastlayerError, ValueError):
    """A backbone that cannot be loaded or does not fit its manifest."""

    exit_code = 4


class StateError(LastlayerError, OSError):
    """A state folder that cannot be read, written or trusted."""

    exit_code = 5


class MismatchError(StateError):
    """Things that were made with different backbones and must not be mixed."""


class DamagedError(StateError):
    """Something in a state that cannot be used as it lies there, and that can be mended: the message says by what."""


class MismatchedParcelError(ParcelError, MismatchError):
    """A head that was sent to a board with another backbone than it was made with."""


class BusyError(LastlayerError, RuntimeError):
    """Somebody else is at it, or there is too much to do just now: try again."""

    exit_code = 5


class TrainingError(LastlayerError, ValueError):
    """Examples from which no head can be made."""

    exit_code = 6


class ServiceError(LastlayerError, ConnectionError):
    """A socket that cannot be opened or a broker that cannot be reached."""

    exit_code = 7


class RefusedHeadError(LastlayerError, ValueError):
    """A head that did not pass the gate."""

    exit_code = 8


class ChildError(LastlayerError, RuntimeError):
    """A process of our own that cannot be started, or says what nobody can use."""
