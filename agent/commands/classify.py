"""`lastlayer classify`: what pictures show."""

import argparse
import time
from pathlib import Path
from typing import Any

from agent.board.files import printable, read_bounded
from agent.commands import SUMMARIES
from agent.commands.arguments import add_view, cut_of, state_folder
from agent.errors import ImageError
from agent.records import MAX_PICTURE_BYTES, Frame, Result, picture_id
from agent.region import Cut
from agent.reporting.timing import Timings
from agent.state.state import existing_state
from agent.terminal import command, say, show
from agent.vision.backbone import FAMILY
from agent.vision.classifier import TOP, Classifier

EXAMPLE = """\
example:  lastlayer --state S classify some.jpg --top 3 --json
          lastlayer --state S --task gate classify frame.jpg --view yard --config lastlayer.yaml
"""


def register(commands: Any, options: argparse.ArgumentParser) -> None:
    parser = command(
        commands,
        "classify",
        options,
        execute,
        summary=SUMMARIES["classify"],
        description="Classifies pictures with the head in service. With several, --json gives a list.",
        epilog=EXAMPLE,
    )
    parser.add_argument("pictures", type=Path, nargs="+", metavar="PICTURE")
    add_view(parser)
    parser.add_argument("--top", type=int, default=TOP, help="how many labels to name (default: %(default)s)")


def execute(arguments: argparse.Namespace) -> int:
    cut = cut_of(arguments)
    state = existing_state(state_folder(arguments), arguments.backbone, arguments.input_range, arguments.size)
    classifier = Classifier(state.backbone(), Timings(node="cli", runtime=FAMILY))
    version = state.heads.active()
    if version is not None:
        classifier.put_into_service(version, state.heads.load(version))
    else:
        say(f"{state.folder} has no head yet: `lastlayer --state {state.folder} retrain` makes one")
    results: dict[Path, Result] = {}
    failed: ImageError | None = None
    for path in arguments.pictures:
        try:
            results[path] = _classified(classifier, path, arguments.top, cut)
        except ImageError as error:
            if len(arguments.pictures) == 1:
                raise
            say(str(error))
            failed = error
    payloads = [{"file": printable(path), **result.as_dict()} for path, result in results.items()]
    text = "\n\n".join(_text(path, result) for path, result in results.items())
    show(arguments, payloads if len(arguments.pictures) > 1 else payloads[0], text)
    return failed.exit_code if failed else 0


def _classified(classifier: Classifier, path: Path, top: int, cut: Cut) -> Result:
    try:
        payload = read_bounded(path, MAX_PICTURE_BYTES)
        seen = classifier.classify(Frame(picture_id(payload), int(time.time() * 1000), payload), top, cut)
    except OSError as error:
        raise ImageError(f"{printable(path)}: {error.strerror}") from error
    except ImageError as error:
        raise ImageError(f"{printable(path)}: {error}") from error
    if not seen.finite:
        say(f"{printable(path)}: the backbone gives no finite numbers for this picture: nothing can be said of it")
    return seen.result


def _text(path: Path, result: Result) -> str:
    lines = [printable(path)]
    lines += [f"  {prediction.probability:6.1%}  {prediction.label}" for prediction in result.predictions]
    if result.unknown:
        lines.append("  unknown")
    lines.append("  " + ", ".join(f"{phase} {ms:.2f} ms" for phase, ms in result.timings_ms.items()))
    return "\n".join(lines)
