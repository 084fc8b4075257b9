"""What quantization costs in the end: the top-1 of a head on float bottlenecks beside that of one on the bundle's."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.errors import DatasetError, ImageError
from agent.learning.pictures.bursts import split_of
from agent.learning.pictures.dataset import open_dataset
from agent.learning.pictures.listing import is_list
from agent.learning.training.examples import ArrayExamples
from agent.learning.training.settings import Settings
from agent.learning.training.train import train
from agent.records import SPLITS, picture_id
from agent.vision.backbone import Backbone
from agent.vision.image import decode
from trainer.making.corpus import warn_of_left_out


@dataclass(frozen=True)
class Transfer:
    """Top-1 on the val pictures of one set, each of a head of its own."""

    name: str
    images: int  # in val
    float_top1: float
    bundle_top1: float

    @property
    def change(self) -> float:
        return self.bundle_top1 - self.float_top1

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "change": round(self.change, 4)}


def transfer(source: Path, network: Any, backbone: Backbone, seed: int) -> Transfer:
    """`source` as for `lastlayer learn`: class folders, a .zip or a .csv list. Raises DatasetError."""
    bundle = backbone.bundle
    images, labels, splits, unreadable = [], [], [], 0
    with open_dataset(source) as pictures:
        warn_of_left_out(pictures)
        for picture in pictures:
            try:
                payload = picture.read()
                images.append(decode(payload, bundle.width, bundle.height))
            except (OSError, ImageError):
                unreadable += 1
                continue
            labels.append(picture.label)
            splits.append(SPLITS.index(picture.split or split_of(bytes.fromhex(picture_id(payload)))))
    if not images:
        raise DatasetError(f"{source} holds no readable picture ({unreadable} cannot be read)")
    known, targets = np.unique(labels, return_inverse=True)
    exact = np.asarray(network.predict(np.stack(images), batch_size=32, verbose=0), dtype=np.float32)
    stored = np.stack([backbone.bottleneck(image) for image in images])
    name = source.parent.name if is_list(source) else source.name

    def top1(bottlenecks: NDArray[Any], scale: float, zero_point: int) -> tuple[float, int]:
        examples = ArrayExamples(bottlenecks, targets, tuple(map(str, known)), np.array(splits), scale, zero_point)
        validation = train(examples, Settings(seed=seed)).validation
        if validation is None:
            raise DatasetError(f"{source} has no val pictures to judge by: give it more pictures, or name the splits")
        return validation.top1, validation.images

    float_top1, count = top1(exact, 1.0, 0)
    return Transfer(name, count, float_top1, top1(stored, backbone.scale, backbone.zero_point)[0])
