"""What can be asked of the service by name, with a JSON object, and what is answered."""

import json
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agent.errors import LastlayerError
from agent.records import MAX_LABEL_BYTES, checked_name
from agent.service import Service
from agent.service.tasks import Task

log = logging.getLogger(__name__)

MAX_BYTES = 4096  # of a command
REMEMBERED = 100  # answers, for commands that come twice

Answer = dict[str, Any]


class _RefusedError(ValueError):
    """A command that is not of the form that it should have."""


@dataclass(frozen=True, slots=True)
class _Command:
    run: Callable[[dict[str, Any]], dict[str, Any]]
    required: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()


class Commands:
    """For one thread. A command with an `id` is obeyed once: when it comes again it is answered as the first time."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._answers: OrderedDict[tuple[str, str | int], Answer] = OrderedDict()
        task = frozenset({"task"})
        self._commands = {
            "label": _Command(self._label, frozenset({"frame_id", "label"}), task | {"view", "new"}),
            "retrain": _Command(
                lambda asked: {"retrain": self._task(asked).teaching.retrain()["state"]}, optional=task
            ),
            "cancel": _Command(lambda asked: {"retrain": self._task(asked).teaching.cancel()["state"]}, optional=task),
            "rollback": _Command(lambda asked: {"head": self._task(asked).heads.rollback()}, optional=task),
            "activate": _Command(self._activate, frozenset({"version"}), task | {"force"}),
            "forget": _Command(self._forget, optional=task | {"camera", "view"}),
        }

    def __call__(self, name: str, payload: bytes) -> Answer:
        """Obey, or say what is wrong: {"command", "ok", …, "error", "id"}. Never raises."""
        answer: Answer = {"command": name[:MAX_LABEL_BYTES], "ok": False}
        try:
            asked = _parsed(payload)
            key = asked.pop("id", None)
            if _is_id(key):
                answer["id"] = key
                if (name, key) in self._answers:
                    return self._answers[name, key]
            elif key is not None:
                raise _RefusedError(f"an id is a text of {MAX_LABEL_BYTES} characters at most, or a whole number")
            answer = {**answer, "ok": True, **self._obeyed(name, asked)}
            if key is not None:
                self._remember(name, key, answer)
        except (_RefusedError, LastlayerError) as error:
            answer["error"] = str(error)
        except Exception:
            log.exception("the command %.40r failed", name)
            answer["error"] = "an error of the service; its log says which"
        return answer

    def _obeyed(self, name: str, asked: dict[str, Any]) -> dict[str, Any]:
        command = self._commands.get(name)
        if command is None:
            raise _RefusedError(f"there is no command {name[:40]!r}; there are {', '.join(self._commands)}")
        missing = command.required - asked.keys()
        unknown = asked.keys() - command.required - command.optional
        if missing or unknown:
            takes = ", ".join(sorted(command.required | command.optional | {"id"}))
            wrong = f"lacks {', '.join(sorted(missing))}" if missing else f"does not know {min(unknown)[:40]!r}"
            raise _RefusedError(f"{name} {wrong}; it takes {takes}")
        return command.run(asked)

    def _task(self, asked: dict[str, Any]) -> Task:
        """The one that is named, or the only one there is."""
        return self._service.tasks.one(_text(asked, "task"))

    def _label(self, asked: dict[str, Any]) -> dict[str, Any]:
        frame_id, new = asked["frame_id"], asked.get("new", False)
        if not isinstance(frame_id, str):
            raise _RefusedError("frame_id must be text: the one that came with the result")
        if not isinstance(new, bool):
            raise _RefusedError("new must be true or false")
        task, view = _text(asked, "task"), _text(asked, "view")
        label = self._service.label(frame_id, asked["label"], task=task, view=view, new=new)
        return {"frame_id": frame_id[:MAX_LABEL_BYTES], "label": label}

    def _activate(self, asked: dict[str, Any]) -> dict[str, Any]:
        version, force = asked["version"], asked.get("force", False)
        if type(version) is int:
            version = str(version) if 0 <= version < 1_000_000_000 else ""
        if not isinstance(version, str) or not 1 <= len(version) <= 9:
            raise _RefusedError('version must be that of a head, such as "3"')
        if not isinstance(force, bool):
            raise _RefusedError("force must be true or false")
        self._task(asked).heads.activate(version, force=force)
        return {"head": version}

    def _forget(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked.keys() == {"task", "view"}:
            task, view = (checked_name(asked[name], name) for name in ("task", "view"))
            self._service.announcer.forget_view(task, view)
            return {"task": task, "view": view}
        if asked.keys() != {"camera"}:
            raise _RefusedError("forget takes camera, or task and view")
        camera = checked_name(asked["camera"], "camera name")
        self._service.announcer.forget(camera)
        return {"camera": camera}

    def _remember(self, name: str, key: str | int, answer: Answer) -> None:
        self._answers[name, key] = answer
        if len(self._answers) > REMEMBERED:
            self._answers.popitem(last=False)


def _text(asked: dict[str, Any], name: str) -> str | None:
    value = asked.get(name)
    if value is not None and not isinstance(value, str):
        raise _RefusedError(f"{name} must be text, not {value!r:.40}")
    return value


def _parsed(payload: bytes) -> dict[str, Any]:
    """The JSON object of a command; no payload at all is an empty one."""
    if len(payload) > MAX_BYTES:
        raise _RefusedError(f"a command may take {MAX_BYTES} bytes, this one takes {len(payload)}")
    try:
        asked = json.loads(payload or b"{}")
    except (ValueError, RecursionError):
        raise _RefusedError("the payload is no JSON") from None
    if not isinstance(asked, dict):
        raise _RefusedError("the payload must be a JSON object: {…}")
    return asked


def _is_id(key: object) -> bool:
    return (type(key) is int and abs(key) < 1 << 63) or (isinstance(key, str) and len(key) <= MAX_LABEL_BYTES)
