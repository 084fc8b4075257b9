"""What the configuration asks, as far as states and Home Assistant go."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.config import Config, DebounceConfig, TaskConfig
from agent.reporting.topics import ViewName


@dataclass(frozen=True, slots=True)
class Agreement:
    """How many of how many frames; what is less probable agrees with nothing."""

    agree: int = 3
    of: int = 5
    min_probability: float = 0.0


@dataclass(frozen=True, slots=True)
class Question:
    """One task, or all there is where none is named."""

    agreement: Agreement = Agreement()
    particular: Mapping[str, Agreement] = field(default_factory=dict)  # view → what holds for it instead
    views: tuple[str, ...] = ()  # as the configuration calls them
    any_camera: bool = True  # whether they are called by the cameras of their frames instead
    on: str | None = None  # of two labels the one that means on

    def agreement_of(self, view: str) -> Agreement:
        return self.particular.get(view, self.agreement)


UNNAMED: Mapping[str, Question] = {"": Question()}  # where the configuration says nothing


def questions_of(config: Config) -> dict[str, Question]:
    """By the names of the tasks; where there are none, one that has no name."""
    cameras = {name: _agreement(camera) for name, camera in config.cameras.items()}
    everywhere = _agreement(config.debounce)
    if not config.tasks:
        return {"": Question(everywhere, cameras)}
    return {name: _question(task, everywhere, cameras) for name, task in config.tasks.items()}


def is_asked(view: ViewName, questions: Mapping[str, Question]) -> bool:
    """Whether a frame may come that this view looks at."""
    question = questions.get(view.task)
    return question is not None and (question.any_camera or view.name in question.views)


def _question(task: TaskConfig, everywhere: Agreement, cameras: Mapping[str, Agreement]) -> Question:
    """What a task says itself comes before what its cameras have, and that before what holds everywhere."""
    views = {view.known_as: view.camera for view in task.views if view.known_as}
    if task.debounce is not None:
        everywhere, particular = _agreement(task.debounce), {}
    elif views:
        particular = {
            name: cameras[camera] for name, camera in views.items() if camera is not None and camera in cameras
        }
    else:
        particular = dict(cameras)
    return Question(everywhere, particular, tuple(views), any_camera=not views, on=task.on)


def _agreement(debounce: DebounceConfig) -> Agreement:
    return Agreement(debounce.agree, debounce.of, debounce.min_probability)
