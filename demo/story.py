"""What the demo tells: each step, the call that does it, and what came of it."""

import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TextIO
from urllib.parse import quote

from tqdm import tqdm

from agent.errors import ImageError, LastlayerError, ServiceError
from agent.learning.pictures.labelled import LabelledPicture
from agent.reporting.timing import TimingReport
from agent.reporting.topics import Topics
from agent.terminal import say
from demo.clients import HttpClient, Message, Subscriber
from demo.pictures import Pictures
from demo.processes import NODE, Program

LATER = 6  # one picture in so many is labelled by the id of its frame…
MAX_LATER = 100  # …and no more than are remembered in any case
RETRAIN_S = 300.0
REPORTS_S = 15.0  # for the last window to be over and reported

_TOPICS = Topics(NODE)
_TIMING = _TOPICS.timing("")


class Script:
    """Aligned text on a stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._chapter = 0

    def say(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def chapter(self, title: str) -> None:
        self._chapter += 1
        self.say(f"\n{self._chapter}  {title}")

    def row(self, name: str, text: str) -> None:
        self.say(f"   {name:<10} {text}")

    def call(self, method: str, path: str, text: str = "") -> None:
        self.say(f"   {method:<4} {path:<36} {text}".rstrip())


class Story:
    """Chapter by chapter; each returns what it found, for --json."""

    def __init__(
        self, http: HttpClient, daemon: Program, subscriber: Subscriber, pictures: Pictures, script: Script
    ) -> None:
        self._http = http
        self._daemon = daemon
        self._subscriber = subscriber
        self._pictures = pictures
        self._script = script
        self._refused: set[str] = set()

    def tell(self) -> dict[str, Any]:
        """Raises LastlayerError at the first step that fails."""
        self._introduce()
        return {
            "before": self._before(),
            "labels": self._label(),
            "retrain": self._retrain(),
            "after": self._after(),
            "held_out": self._judge(),
            "timings": [report.as_dict() for report in self._timings()],
        }

    def _introduce(self) -> None:
        status = self._http.call("GET", "/v1/status")
        self._script.row("backbone", f"{status['backbone']}, frozen; there is no head yet")
        self._script.row("pictures", self._pictures.source)
        labelled, held_out = len(self._pictures.labelled), len(self._pictures.held_out)
        classes = len(self._pictures.labels)
        self._script.row("", f"{labelled} of {classes} classes to be labelled, {held_out} others held out")

    def _before(self) -> dict[str, Any]:
        self._script.chapter("Before: what does a picture show?")
        picture, answer = self._first_answer("/v1/frames")
        self._script.row("picture", f"{picture.name}, held out: it shows {picture.label!r}")
        self._script.call("POST", "/v1/frames", "the picture is the body")
        shown = {key: answer[key] for key in ("head", "predictions", "unknown")}
        self._script.row("answer", json.dumps(shown))
        return answer

    def _label(self) -> dict[str, int]:
        self._script.chapter("Labels: tell it what the others show")
        later = min(len(self._pictures.labelled) // LATER, MAX_LATER)
        afterwards, at_once = self._pictures.labelled[:later], self._pictures.labelled[later:]
        given = sum(1 for _ in self._posted(at_once, "label", lambda picture: _labelled(picture.label)))
        self._script.call("POST", _labelled(at_once[0].label), f"{given} pictures, each with its label")
        unlabelled = list(self._posted(afterwards, "frames", lambda _: "/v1/frames"))
        for picture, answer in unlabelled:
            body = json.dumps({"label": picture.label}).encode()
            self._http.call("POST", f"/v1/frames/{answer['frame_id']}/label", body)
        if unlabelled:
            picture, answer = unlabelled[0]
            body_text = json.dumps({"label": picture.label}, ensure_ascii=False)
            self._script.call("POST", "/v1/frames", f"{len(unlabelled)} pictures without one, and afterwards for each")
            self._script.call(
                "POST", f"/v1/frames/{answer['frame_id']}/label", f"{body_text}, the picture is not sent again"
            )
        status = self._http.call("GET", "/v1/status")
        self._script.call(
            "GET", "/v1/status", f"{status['examples']} examples of {len(status['labels'])} labels on disk"
        )
        return {"at_once": given, "afterwards": len(unlabelled), "examples": status["examples"]}

    def _retrain(self) -> dict[str, Any]:
        self._script.chapter("Retraining: a new last layer, from the bottlenecks that were kept")
        self._http.call("POST", "/v1/retrain")
        self._script.call("POST", "/v1/retrain")
        outcome = self._daemon.until(self._retrained, RETRAIN_S, "retraining")
        self._subscriber.wait_for(lambda heard: any(b'"done"' in payload for _, payload in heard), REPORTS_S)
        self._script.row("progress", f"as heard on {_TOPICS.retrain}")
        for stage in _finished_stages(self._subscriber.heard()):
            self._script.row("", stage)
        if outcome["state"] != "done":
            raise LastlayerError(f"the retraining failed: {outcome.get('error')}")
        self._script.call("GET", "/v1/retrain", f"head {outcome['head']} is in service, solved by {outcome['solver']}")
        top1 = "could not be measured: too few examples" if outcome["top1"] is None else f"{outcome['top1']:.3f}"
        self._script.row("validation", f"top-1 {top1}")
        return outcome

    def _after(self) -> dict[str, Any]:
        self._script.chapter("After: the same picture again")
        picture, answer = self._first_answer("/v1/frames?top=5")
        self._script.row("picture", f"{picture.name}, never labelled: it shows {picture.label!r}")
        self._script.call("POST", "/v1/frames?top=5")
        self._script.say(_formatted(answer))
        return answer

    def _judge(self) -> dict[str, int]:
        posted = list(self._posted(self._pictures.held_out, "ask", lambda _: "/v1/frames"))
        right = sum(answer["predictions"][0]["label"] == picture.label for picture, answer in posted)
        chance = 1 / len(self._pictures.labels)
        self._script.call("POST", "/v1/frames", f"all {len(posted)} pictures that were held out")
        self._script.row("right", f"{right} of {len(posted)}, {right / len(posted):.1%} (chance: {chance:.1%})")
        return {"right": right, "images": len(posted)}

    def _timings(self) -> list[TimingReport]:
        self._script.chapter("Timings: as an MQTT subscriber heard them")
        self._script.row("topics", f"{_TIMING}<phase>, one report a second")
        counts = {report["phase"]: report["count"] for report in self._http.call("GET", "/v1/timings")["phases"]}
        self._subscriber.wait_for(lambda heard: not _missing(counts, _reports(heard)), REPORTS_S)
        reports = _reports(self._subscriber.heard())
        missing = _missing(counts, reports)
        if missing:
            raise ServiceError(f"these timings did not all come over MQTT: {', '.join(missing)}")
        self._script.say(_table(reports))
        return reports

    def _retrained(self) -> dict[str, Any] | None:
        status: dict[str, Any] = self._http.call("GET", "/v1/retrain")
        return None if status["state"] in ("running", "paused") else status

    def _first_answer(self, path: str) -> tuple[LabelledPicture, dict[str, Any]]:
        for picture, answer in self._posted(self._pictures.held_out, "", lambda _: path):
            return picture, answer
        raise ImageError("not one of the pictures that were held out can be read")

    def _posted(
        self, pictures: Iterable[LabelledPicture], what: str, path: Callable[[LabelledPicture], str]
    ) -> Iterator[tuple[LabelledPicture, dict[str, Any]]]:
        """Pictures and answers. One that is refused is reported, once, and left out."""
        silent = not what or not sys.stderr.isatty()
        for picture in tqdm(pictures, desc=f"   {what}", leave=False, file=sys.stderr, disable=silent):
            try:
                yield picture, self._http.call("POST", path(picture), picture.read())
            except (OSError, ImageError) as error:
                if picture.name not in self._refused:
                    say(f"   {picture.name}: left out: {error}")
                self._refused.add(picture.name)


def _labelled(label: str) -> str:
    return f"/v1/frames?label={quote(label, safe='')}"


def _formatted(answer: dict[str, Any]) -> str:
    """JSON that is read by people: a line for each key, and for each entry of what it holds."""
    lines = []
    for key, value in answer.items():
        text = json.dumps(value, ensure_ascii=False)
        if isinstance(value, list):
            text = "[\n" + ",\n".join(f"       {json.dumps(entry, ensure_ascii=False)}" for entry in value) + "\n     ]"
        elif isinstance(value, dict):
            text = "{\n" + ",\n".join(f"       {json.dumps(k)}: {json.dumps(v)}" for k, v in value.items()) + "\n     }"
        lines.append(f"     {json.dumps(key)}: {text}")
    return "   {\n" + ",\n".join(lines) + "\n   }"


def _finished_stages(heard: Iterable[Message]) -> Iterator[str]:
    for topic, payload in heard:
        status = json.loads(payload) if topic == _TOPICS.retrain else {}
        if status.get("state") == "running" and "step" in status and status["step"] == status["steps"]:
            loss = f", loss {status['loss']:.3f}" if "loss" in status else ""
            yield f"{status['stage']:<14} {status['step']} of {status['steps']}{loss}"


def _reports(heard: Iterable[Message]) -> list[TimingReport]:
    return [TimingReport.from_dict(json.loads(payload)) for topic, payload in heard if topic.startswith(_TIMING)]


def _missing(counts: dict[str, int], reports: Iterable[TimingReport]) -> list[str]:
    """Phases of which less was reported than counted."""
    left = dict(counts)
    for report in reports:
        left[report.phase] = left.get(report.phase, 0) - report.count
    return [phase for phase, count in left.items() if count > 0]


def _table(reports: Iterable[TimingReport]) -> str:
    """A line for each phase, over all its reports. Percentiles cannot be added up: it is the worst that is shown."""
    phases: defaultdict[str, list[TimingReport]] = defaultdict(list)
    for report in reports:
        phases[report.phase].append(report)
    lines = [f"   {'phase':<18}{'reports':>8}{'count':>8}{'mean ms':>11}{'worst p95':>11}"]
    for phase, own in phases.items():
        count = sum(report.count for report in own)
        mean = sum(report.mean_ms * report.count for report in own) / count
        worst = max(report.p95_ms for report in own)
        lines.append(f"   {phase:<18}{len(own):>8}{count:>8}{mean:>11.3f}{worst:>11.3f}")
    return "\n".join(lines)
