"""Documents such as bench writes, made up."""

from typing import Any

from agent.measuring import study
from agent.measuring.bench import FORMAT
from agent.measuring.measurement import Measurement, Projection


def measured(phase: str, mean_ms: float, images: int = 1, **conditions: Any) -> dict[str, Any]:
    return Measurement(
        phase, mean_ms, mean_ms / 10, mean_ms, mean_ms, mean_ms, mean_ms, 50, images, conditions
    ).as_dict()


def projected(phase: str, ms_an_image: float, classes: int, **parts_ms: float) -> dict[str, Any]:
    images = classes * study.IMAGES_A_CLASS
    whole = phase == "epoch" and classes == study.CLASSES[0]
    total = ms_an_image * images
    std_ms = total / 50 if whole else None
    return Projection(phase, classes, images, total, std_ms, 3 if whole else 0, not whole, images, parts_ms).as_dict()


def network(name: str, ms: float, device: str = "cpu") -> dict[str, Any]:
    batched = [measured("bottleneck", ms, 64, batch=64)] if device != "cpu" else []
    return {
        "name": name,
        "sha256": "ab" * 32,
        "height": 299,
        "width": 299,
        "size": 2048,
        "dtype": "int8",
        "threads": 1,
        "runtime": "ai_edge_litert",
        "device": device,
        "measurements": [
            measured("file_access", 0.1, source="picture"),
            measured("decode", 2),
            measured("bottleneck", ms),
            measured("picture_to_bottleneck", ms + 2.1),
            measured("session_run", ms + 0.4),
            measured("result_processing", 0.03),
            measured("picture_to_result", ms + 2.6),
            *batched,
        ],
        "projections": [projected("picture_to_bottleneck", ms + 2.1, k) for k in study.CLASSES],
    }


def document(*networks: dict[str, Any], cpu: str = "Cortex-A15", step_ms: float = 0.05) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "kind": "bench",
        "role": "agent",
        "created_ms": 1_790_000_000_000,
        "quick": False,
        "seed": 0,
        "platform": {
            "machine": "armv7l",
            "cpu": cpu,
            "cores": 8,
            "memory_bytes": 2 << 30,
            "os": "Linux 6.1",
            "python": "3.11.2",
            "numpy": "1.24.2",
            "blas": "openblas",
            "blas_threads": 1,
            "runtime": "tflite_runtime",
            "runtime_version": "2.14.0",
            "load": 0.1,
        },
        "networks": list(networks),
        "pictures": {"folder": "photos", "count": 50, "mean_bytes": 100_000.0},
        "cache": {"file_system": "ext4 on /dev/mmcblk0p2", "examples": 10_000, "validation": 5000},
        "measurements": [measured("file_access", 1.0, batch, source="cache", batch=batch) for batch in study.BATCHES]
        + [measured("training", 2.0, batch, batch=batch) for batch in study.BATCHES]
        + [measured("validation", 30.0, 5000, classes=k) for k in study.CLASSES],
        "projections": [
            projected("epoch", step_ms, k, file_access=300.0, training=step_ms * k * 700, validation=60.0)
            for k in study.CLASSES
        ],
    }
