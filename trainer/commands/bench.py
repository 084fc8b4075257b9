"""`lastlayer-trainer bench`: the study's measurements on this machine, with the study's own network too."""

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.errors import ConfigError
from agent.measuring import study
from agent.measuring.bench import bench
from agent.measuring.report import text, write
from agent.measuring.seeing import Network, find_pictures
from agent.reporting.timing import Timings
from agent.terminal import command, say, show
from agent.vision.backbone import Backbone
from agent.vision.bundle import DEFAULT
from agent.vision.importing import import_model
from trainer.commands.arguments import choose_backend, extra, positive
from trainer.quiet import quiet
from trainer.reporting import reporting_measurements

if TYPE_CHECKING:
    from trainer.bulk.keras_backbone import KerasBackbone

STUDY_INT8, STUDY_FLOAT, STUDY_KERAS = "inception_v3_int8", "inception_v3_float", "inception_v3_keras"
NETWORKS = (STUDY_INT8, STUDY_FLOAT, DEFAULT)
KERAS = "keras"

EPILOG = f"""\
Networks: {STUDY_INT8} and {STUDY_FLOAT} are the study's, 299 px, on one core by TFLite; {STUDY_KERAS}
is the same by Keras, on a GPU where it finds one (it is measured by default then). They are made the first time, with
random weights, which takes some minutes. Others are bundles in models/, folders, .tflite and .keras files.

example: lastlayer-trainer bench --pictures photos/ --out pc.json
         lastlayer-trainer bench --quick --networks {DEFAULT}
         lastlayer-trainer compare board.json pc.json --out report
exit codes: 0 done, 2 bad arguments, 3 bad pictures, 4 bad network, 5 --scratch cannot be written
"""


def register(commands: Any, options: argparse.ArgumentParser) -> None:
    parser = command(
        commands,
        "bench",
        options,
        execute,
        usage="lastlayer-trainer bench [--pictures FOLDER] [--out FILE.json] [options]",
        summary="measure this machine as the study did",
        description="Measures the study's figures 12 to 14 and tables II and III on this machine.",
        epilog=EPILOG,
    )
    add = parser.add_argument
    add("--networks", nargs="+", metavar="NETWORK", help=f"what to measure ({' '.join(NETWORKS)}, and a GPU)")
    add("--pictures", type=Path, metavar="FOLDER", help="what to look at (the photographs inside scikit-learn)")
    add("--scratch", type=Path, default=Path(), metavar="FOLDER", help="where a cache is written and removed (here)")
    add("--out", type=Path, metavar="FILE", help="write the JSON there too")
    add("--size", type=positive, metavar="N", help="side of the pictures, for a .keras file that takes any")
    add("--quick", action="store_true", help="fewer repetitions, no whole epoch")


def execute(arguments: argparse.Namespace) -> int:
    if arguments.out is not None and not arguments.out.parent.is_dir():
        raise ConfigError(f"--out {arguments.out}: there is no folder {arguments.out.parent}")
    if not arguments.scratch.is_dir():
        raise ConfigError(f"--scratch {arguments.scratch}: there is no such folder")
    pictures = find_pictures(arguments.pictures, study.PICTURES)
    with extra():
        from threadpoolctl import threadpool_limits
    with reporting_measurements(arguments) as publish, opened(arguments.networks, arguments.size) as networks:
        with threadpool_limits(1):
            document = bench(
                networks,
                pictures,
                arguments.scratch,
                quick=arguments.quick,
                on_stage=lambda stage: say(f"bench: {stage}"),
                role="trainer",
            )
        document["platform"]["blas_threads"] = 1
        publish(document)
    if arguments.out is not None:
        write(arguments.out, document)
    show(arguments, document, text(document))
    return 0


@contextmanager
def opened(names: list[str] | None, size: int | None) -> Iterator[list[Network]]:
    """Networks that can be measured. Raises BundleError, ConfigError."""
    from trainer.networks.study_network import study_network

    with tempfile.TemporaryDirectory(prefix="lastlayer-") as scratch:
        networks = []
        for number, name in enumerate(names if names is not None else [*NETWORKS, *_on_gpu()]):
            say(f"bench: {name}")
            source = name
            if name in (STUDY_INT8, STUDY_FLOAT, STUDY_KERAS):
                source = str(study_network(name.rpartition("_")[2]))  # type: ignore[arg-type]
            if source.endswith(f".{KERAS}"):
                networks.append(_by_keras(Path(source), size))
            else:
                networks.append(Network.of(Backbone(import_model(source, Path(scratch) / f"{number}"))))
        yield networks


def _on_gpu() -> list[str]:
    """The study's network on the GPU of this machine, if Keras finds one."""
    choose_backend()
    try:
        with quiet():
            from trainer.making.devices import device

            found = device().kind
    except ImportError:
        return []
    return [] if found == "cpu" else [STUDY_KERAS]


def _by_keras(path: Path, size: int | None) -> Network:
    choose_backend()
    with extra(hushed=True):
        from trainer.bulk.keras_backbone import KerasBackbone

        backbone = KerasBackbone(path, Timings(node="bench", runtime=KERAS, role="trainer"), size)
    return _network_of(backbone)


def _network_of(backbone: "KerasBackbone") -> Network:
    return Network(
        backbone.name,
        backbone.sha256,
        backbone.height,
        backbone.width,
        backbone.size,
        "float32",
        None,
        backbone.runtime,
        backbone.device,
        lambda image: backbone.bottlenecks(image[None])[0],
        backbone.bottlenecks,
    )
