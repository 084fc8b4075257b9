"""What the study measured, for comparison.

Dąbrowski, Gromada, Michalik: A practical study of neural network-based image classification model trained with
transfer learning method (2016). Inception v3 at 299 x 299 pixels, whose bottleneck has 2048 values; TensorFlow's
retrain.py, which keeps every bottleneck in a text file of about 18 kB.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

SIZE = 2048  # values in a bottleneck
CLASSES = (100, 250, 1000)
IMAGES_A_CLASS = 1000
PICTURES = 50  # over which a bottleneck's time was averaged
BATCHES = (100, 1000, 10_000)
BATCH = 100  # of the setting that it chose: Adam, learning rate 0.01, epsilon 0.1
VALIDATE_EVERY = 500  # batches

READING_BELOW_MS = 4  # reading one picture's file
FILE_ACCESS_MS = 15  # about, an image, from the text files; it does not say on which machine


class Spread(NamedTuple):
    mean_min: float
    std_min: float


@dataclass(frozen=True)
class Column:
    """What one machine took. Projected and measured figures as the study rounds them."""

    name: str
    machine: str
    bottleneck_s: float  # of one picture, mean of 50
    corpus_h: Mapping[int, float]  # classes → the bottlenecks of all their pictures
    epoch: Mapping[int, Spread]  # classes → one epoch of the last layer
    test: str  # session run and result processing of one picture, in the study's words


COLUMNS = (
    Column(
        "Odroid XU4",
        "32-bit ARM, 2 GB, flash",
        2.0,
        {100: 56, 250: 140, 1000: 560},
        {100: Spread(8.57, 0.57), 250: Spread(22.91, 0.69), 1000: Spread(127, 3.18)},
        "about 6 s",
    ),
    Column(
        "PC, CPU",
        "4 cores, 8 GB, magnetic disk",
        0.55,
        {100: 15.3, 250: 38.3, 1000: 153},
        {100: Spread(14.24, 0.08), 250: Spread(36.55, 1.58), 1000: Spread(219, 16.35)},
        "",
    ),
    Column(
        "PC, GPU",
        "GTX 960",
        0.08,
        {100: 2.2, 250: 5.7, 1000: 22.7},
        {100: Spread(14.57, 0.57), 250: Spread(36.66, 1.53), 1000: Spread(210, 8.14)},
        "under 2 s",
    ),
)


def as_dict() -> dict[str, Any]:
    """All of it, fit for JSON."""
    return {
        "network": "Inception v3, 299 x 299 px, float",
        "bottleneck_size": SIZE,
        "reading_below_ms": READING_BELOW_MS,
        "file_access_ms": FILE_ACCESS_MS,
        "columns": [
            asdict(column) | {"epoch": {classes: spread._asdict() for classes, spread in column.epoch.items()}}
            for column in COLUMNS
        ],
    }
