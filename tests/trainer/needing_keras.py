"""Marks of the tests that need Keras on TensorFlow; to be imported before either of them is."""

import importlib.util
import os

import pytest

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

NEEDING_KERAS = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(
        importlib.util.find_spec("tensorflow") is None or importlib.util.find_spec("keras") is None,
        reason="the trainer extra (keras and tensorflow) is not installed",
    ),
]
