"""`lastlayer bench`: how long the study's phases take on this machine."""

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent.commands import SUMMARIES
from agent.commands.arguments import state_folder, task_root
from agent.errors import ConfigError
from agent.measuring import study
from agent.measuring.bench import bench
from agent.measuring.report import text, write
from agent.measuring.seeing import Network, find_pictures
from agent.state.state import existing_state
from agent.terminal import command, say, show
from agent.vision.backbone import Backbone
from agent.vision.bundle import DEFAULT
from agent.vision.importing import import_model

EXAMPLE = """\
example:  lastlayer bench --pictures photos/ --out board.json
          lastlayer bench --quick

The backbone is that of --state, if it holds one, else --backbone, else the one that ships with Lastlayer. For file
access a cache of random examples, 21 to 220 MB, is written where the state lies, and removed again.
"""


def register(commands: Any, options: argparse.ArgumentParser) -> None:
    parser = command(
        commands,
        "bench",
        options,
        execute,
        summary=SUMMARIES["bench"],
        description="Measures the phases of the 2016 study on this machine and shows them beside its figures.",
        epilog=EXAMPLE,
    )
    parser.add_argument(
        "--pictures", type=Path, metavar="FOLDER", help="what to look at (default: the photographs inside scikit-learn)"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the JSON there too")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, no whole epoch")


def execute(arguments: argparse.Namespace) -> int:
    if arguments.out is not None and not arguments.out.parent.is_dir():
        raise ConfigError(f"--out {arguments.out}: there is no folder {arguments.out.parent}")
    pictures = find_pictures(arguments.pictures, study.PICTURES)
    with _backbone(arguments) as backbone:
        document = bench(
            [Network.of(backbone)],
            pictures,
            _folder_of(state_folder(arguments)),
            quick=arguments.quick,
            on_stage=lambda stage: say(f"bench: {stage}"),
        )
    if arguments.out is not None:
        write(arguments.out, document)
    show(arguments, document, text(document))
    return 0


@contextmanager
def _backbone(arguments: argparse.Namespace) -> Iterator[Backbone]:
    if arguments.state is not None and ((root := task_root(arguments)) / "backbone").is_dir():
        state = existing_state(root, arguments.backbone, arguments.input_range, arguments.size)
        yield state.backbone()
        return
    with tempfile.TemporaryDirectory(prefix="lastlayer-") as folder:
        into = Path(folder) / "backbone"
        yield Backbone(import_model(arguments.backbone or DEFAULT, into, arguments.input_range, arguments.size))


def _folder_of(state: Path) -> Path:
    """The state's folder, or the nearest one above it that is there already: they lie on the same flash."""
    return next(folder for folder in (state.absolute(), *state.absolute().parents) if folder.is_dir())
