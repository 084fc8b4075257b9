"""A bundle run on pictures by whatever TFLite runtime this Python has; a program of its own.

    python -m trainer.exporting.invoking BUNDLE IMAGES.npy ANSWER.npz

So the older runtime can be asked from an environment that holds nothing but it and numpy, and one that crashes ends
only this. IMAGES is uint8 [N, H, W, 3]. ANSWER holds `bottlenecks` [N, D] as stored, `scale`, `zero_point`,
`invoke_ms` [N] and `family`.
"""

import sys
import time
from pathlib import Path

import numpy as np

from agent.errors import BundleError
from agent.vision.backbone import FAMILY, Backbone
from agent.vision.bundle import load_bundle

ROUNDS = 3  # of the first pictures, untimed: a runtime's first runs are slower


def main() -> None:
    bundle, images_path, answer = sys.argv[1:]
    backbone = Backbone(load_bundle(Path(bundle)))
    images = np.load(images_path)
    for image in images[:ROUNDS]:
        backbone.bottleneck(image)
    rows, invoke_ms = [], []
    for image in images:
        began = time.monotonic()
        rows.append(backbone.bottleneck(image))
        invoke_ms.append(1000 * (time.monotonic() - began))
    np.savez(
        answer,
        bottlenecks=np.stack(rows),
        scale=backbone.scale,
        zero_point=backbone.zero_point,
        invoke_ms=invoke_ms,
        family=FAMILY,
    )


if __name__ == "__main__":
    try:
        main()
    except BundleError as error:
        sys.exit(str(error))
