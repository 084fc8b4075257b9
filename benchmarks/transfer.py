"""How well a frozen backbone serves small sets that it was not trained on.

    python -m benchmarks.transfer standard ../shared/data/transfer/*/split.csv
    python -m benchmarks.transfer float_model.tflite --input-range 0 1 ../shared/data/transfer/*/split.csv

For every list (file, class, split) the bottlenecks of all pictures are computed once. Then, for 5 and for 20
training pictures a class, drawn anew for every seed: standardised columns, logistic regression, and the
class-averaged top-1 on the rows of `val`.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.errors import LastlayerError
from agent.learning.pictures.dataset import open_dataset
from agent.learning.pictures.listing import is_list
from agent.vision.backbone import Backbone
from agent.vision.bundle import DEFAULT, Bundle, load_bundle
from agent.vision.image import decode
from agent.vision.importing import import_model
from benchmarks.rows import Row, finish
from benchmarks.sets import SHARED

SETS = SHARED / "data" / "transfer"


@dataclass(frozen=True)
class Embedded:
    """The bottlenecks of one set."""

    name: str
    bottlenecks: NDArray[np.float32]  # [N, D]
    classes: NDArray[np.int64]  # [N]
    validation: NDArray[np.bool_]  # [N]


def embed(source: Path, bottleneck: Callable[[bytes], NDArray[np.float32]]) -> Embedded:
    """Every picture of a list or folder; it must name a split for each. Raises DatasetError, ImageError."""
    with open_dataset(source) as pictures:
        rows = [bottleneck(picture.read()) for picture in pictures]
        labels = [picture.label for picture in pictures]
        validation = np.array([picture.split != "train" for picture in pictures])
    classes = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    name = source.parent.name if is_list(source) else source.name
    return Embedded(name, np.stack(rows), classes, validation)


def transfer_top1(embedded: Embedded, per_class: int, seed: int) -> float:
    """Class-averaged top-1 on the validation rows after training on `per_class` rows of each class."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(seed)
    candidates = [np.flatnonzero(~embedded.validation & (embedded.classes == k)) for k in np.unique(embedded.classes)]
    rows = np.concatenate([rng.choice(c, min(per_class, len(c)), replace=False) for c in candidates])
    head = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    head.fit(embedded.bottlenecks[rows], embedded.classes[rows])
    wanted = embedded.classes[embedded.validation]
    hits = head.predict(embedded.bottlenecks[embedded.validation]) == wanted
    return float(np.mean([hits[wanted == k].mean() for k in np.unique(wanted)]))


def bottlenecks_of(bundle: Bundle) -> Callable[[bytes], NDArray[np.float32]]:
    backbone = Backbone(bundle)

    def bottleneck(payload: bytes) -> NDArray[np.float32]:
        stored = backbone.bottleneck(decode(payload, bundle.width, bundle.height))
        real: NDArray[np.float32] = (stored.astype(np.float32) - backbone.zero_point) * np.float32(backbone.scale)
        return real

    return bottleneck


def table(sets: list[Embedded], counts: list[int], seeds: int) -> tuple[list[str], list[float]]:
    """A line a set and one for their mean, mean and standard deviation over the seeds, in percent; and these means."""
    heading = "".join(f"{f'{count} a class':>18}" for count in counts)
    lines = [f"{'set':<16}{heading}"]
    means = []
    for embedded in sets:
        scores = np.array([[transfer_top1(embedded, count, seed) for seed in range(seeds)] for count in counts])
        means.append(scores.mean(axis=1))
        cells = "".join(
            f"{100 * m:>10.1f} ± {100 * s:4.1f} " for m, s in zip(means[-1], scores.std(axis=1), strict=True)
        )
        lines.append(f"{embedded.name:<16}{cells}")
    lines.append(f"{'mean':<16}" + "".join(f"{100 * m:>10.1f}        " for m in np.mean(means, axis=0)))
    return lines, np.mean(means, axis=0).tolist()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "backbone",
        nargs="?",
        default=DEFAULT,
        help="a bundle (name or folder) or a .tflite file with one vector as its output (default: the one that ships)",
    )
    parser.add_argument(
        "sets",
        nargs="*",
        type=Path,
        default=sorted(SETS.glob("*/split.csv")),
        help="lists (file, class, split) or folders with train/ and val/ (default: those of the folder shared)",
    )
    parser.add_argument("--input-range", nargs=2, type=float, metavar=("LOW", "HIGH"), help="of a bare float model")
    parser.add_argument(
        "--per-class", nargs="+", type=int, default=[5, 20], metavar="N", help="training pictures (5 20)"
    )
    parser.add_argument("--seeds", type=int, default=5, help="draws to average over (5)")
    options = parser.parse_args()
    if not options.sets:
        print(f"transfer: skipped: there is no {SETS}; name lists of pictures", file=sys.stderr)
        return 0
    try:
        with tempfile.TemporaryDirectory() as scratch:
            if options.backbone.endswith(".tflite"):
                low_high = tuple(options.input_range) if options.input_range else None
                bundle = import_model(options.backbone, Path(scratch) / Path(options.backbone).stem, low_high)
            else:
                bundle = load_bundle(options.backbone)
            bottleneck = bottlenecks_of(bundle)
            sets = [embed(source, bottleneck) for source in options.sets]
    except LastlayerError as error:
        print(f"transfer: {error}", file=sys.stderr)
        return error.exit_code
    lines, means = table(sets, options.per_class, options.seeds)
    print("\n".join([f"{bundle.name}: class-averaged top-1 on val, %", *lines]))
    what = f"{bundle.name}: mean top-1 at"
    return finish([Row(f"{what} {n} a class", f"{mean:.3f}") for n, mean in zip(options.per_class, means, strict=True)])


if __name__ == "__main__":
    sys.exit(main())
