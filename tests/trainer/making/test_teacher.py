from pathlib import Path

import numpy as np
import pytest

import trainer.making.teacher
from agent.errors import BundleError
from agent.vision.image import decode
from trainer.making.teacher import Teacher, load_teacher, with_output

NAME = "tf2_mobilenet_v2_1.0_224_ptq.tflite"


@pytest.fixture(scope="module")
def teacher(shared: Path) -> Teacher:
    return load_teacher(shared / "models" / NAME)


def test_the_logits_rebuilt_from_the_bottleneck_give_the_scores_of_the_whole_network(
    shared: Path, teacher: Teacher
) -> None:
    path = shared / "models" / NAME
    photograph = decode((shared / "models" / "pictures" / "parrot.jpg").read_bytes(), teacher.size, teacher.size)
    outputs = []
    for content in (path.read_bytes(), teacher.content):
        interpreter = trainer.making.teacher._interpreter(content)
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], photograph[None])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).ravel())
    scores, bottleneck = outputs[0] / 256, teacher.bottlenecks(outputs[1])
    assert bottleneck.shape == (1280,)
    logits = teacher.logits(bottleneck[None])[0]
    rebuilt = np.exp(logits - logits.max())
    rebuilt /= rebuilt.sum()
    assert scores.max() > 0.5
    assert rebuilt.argmax() == scores.argmax()
    assert abs(rebuilt - scores).max() < 0.1  # the network's own logits are quantized


def test_a_file_that_is_no_classifier_is_refused(shared: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot be read"):
        load_teacher(tmp_path / "nowhere.tflite")
    with pytest.raises(BundleError, match="must take a uint8 image"):
        load_teacher(shared / "models" / "mobilenet_v2_035_96_embedder_with_metadata.tflite")
    with pytest.raises(BundleError, match="does not load"):
        load_teacher(shared / "models" / "model_invoking_error.tflite")


def test_moving_the_output_changes_four_bytes_at_most(shared: Path) -> None:
    content = (shared / "models" / NAME).read_bytes()
    changed = with_output(content, 5)
    assert len(changed) == len(content)
    assert sum(a != b for a, b in zip(content, changed, strict=True)) in range(1, 5)
