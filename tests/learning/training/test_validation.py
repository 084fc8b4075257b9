import numpy as np
import pytest

from agent.learning.solving.head import Head
from agent.learning.training.examples import ArrayExamples
from agent.learning.training.progress import Watch
from agent.learning.training.validation import Judge, evaluate_head


def test_examples_of_classes_that_were_not_trained_count_as_wrong() -> None:
    source = ArrayExamples(np.eye(3, dtype=np.float32), np.array([0, 1, 2]), ("a", "b", "c"))
    judge = Judge(source, np.arange(3), np.array([0, 1, -1], np.int32), 2, 0, Watch())
    weights = np.array([[9, 0], [0, 9], [0, 0]], np.float32)
    assert judge.scores(weights, np.zeros(2, np.float32)).top1 == pytest.approx(2 / 3)
    head = Head(("a", "b"), weights, np.zeros(2, np.float32), "")
    assert evaluate_head(head, source, np.arange(3)).unknown_labels == {"c": 1}
