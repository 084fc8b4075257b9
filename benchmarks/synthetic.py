"""A state of made-up bottlenecks with classes in them, to sweep and to retrain on: no measurement.

    python -m benchmarks.synthetic OUT --classes 100 --images 1000 --size 2048 --seed 0
    lastlayer-trainer sweep OUT --out curves
    lastlayer --state OUT retrain

Every class has a mean and every image its distance from it, both Gaussian, in a space of 64 dimensions; a fixed random
matrix makes SIZE values of that, to which noise comes; a ReLU cuts off what is below a threshold of each value, as in
the last block of a network; and all are rounded to a byte. One image in twenty is for validation. The same words give
the same bytes. OUT has no backbone: its heads can be compared, not used.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.cache import Cache, Layout
from agent.records import SPLITS, Example

DIMENSIONS = 64  # that tell classes from each other, as in sets.synthetic
SPREAD = 0.55  # of the class means, where an image's distance from its own is 1 in each dimension
TOP = 10.0  # the largest value, which few reach
VALIDATE_ONE_IN = 20
_GROUP = 1000  # images that are made and written together


class Cloud:
    """Draws bottlenecks [n, size] uint8 of given classes."""

    def __init__(self, classes: int, size: int, seed: int) -> None:
        self._rng = rng = np.random.default_rng(seed)
        self._means = SPREAD * rng.standard_normal((classes, DIMENSIONS), np.float32)
        self._matrix = rng.standard_normal((DIMENSIONS, size), np.float32) / np.float32(DIMENSIONS**0.5)
        self._threshold = rng.random(size, np.float32)
        self._gain = np.exp(0.5 * rng.standard_normal(size, np.float32))

    def draw(self, classes: NDArray[Any]) -> NDArray[np.uint8]:
        latent = self._means[classes] + self._rng.standard_normal((len(classes), DIMENSIONS), np.float32)
        noise = self._rng.standard_normal((len(classes), self._matrix.shape[1]), np.float32)
        values = latent @ self._matrix + np.float32(0.5) * noise - self._threshold
        values = np.clip(values, 0, None) * self._gain
        stored: NDArray[np.uint8] = np.clip(np.rint(values * (255 / TOP)), 0, 255).astype(np.uint8)
        return stored


def examples(classes: int, images: int, size: int, seed: int) -> Iterator[list[Example]]:
    """All of them in groups, shuffled; `images` of each class."""
    cloud = Cloud(classes, size, seed)
    order = np.random.default_rng(seed).permutation(classes * images)
    width = len(str(classes - 1))
    for first in range(0, len(order), _GROUP):
        numbers = order[first : first + _GROUP]  # an image is number // images, its class, and number % images
        rows = cloud.draw(numbers // images)
        yield [
            Example(
                f"{number + 1:016x}",
                f"{number // images:0{width}}",
                row,
                0,
                split=SPLITS[number % images % VALIDATE_ONE_IN == 0],
            )
            for number, row in zip(numbers.tolist(), rows, strict=True)
        ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT", help="state folder to make; its cache must be empty")
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--images", type=int, default=1000, help="of each class (1000)")
    parser.add_argument("--size", type=int, default=2048, help="values in a bottleneck (2048)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if min(arguments.classes, arguments.images, arguments.size) < 2:
        parser.error("there must be two classes, images and values at least")
    layout = Layout.of("0" * 32, arguments.size, "uint8", TOP / 255, 0)
    with Cache(arguments.out / "cache", layout) as cache:
        if len(cache):
            parser.error(f"{arguments.out} holds {len(cache)} examples already: name another folder")
        for group in examples(arguments.classes, arguments.images, arguments.size, arguments.seed):
            cache.append(group)
        print(f"{len(cache)} examples of {arguments.classes} labels in {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
