"""How to train, as it is asked for; and how a head was made, as it was chosen."""

from dataclasses import dataclass
from typing import Literal

from agent.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Settings:
    """How to train. Raises ConfigError for values that make no sense.

    `auto` needs no setting; it heeds batch, seed and memory_bytes only. The others are for `adam` and
    `sgd`, and their defaults are the study's: 10,000 steps of Adam, on bottlenecks as they are.
    """

    solver: Literal["auto", "adam", "sgd"] = "auto"
    learning_rate: float = 0.01
    epsilon: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 0.0
    batch: int = 100
    steps: int = 10_000
    validate_every: int = 500
    standardise: bool = False
    seed: int = 0
    memory_bytes: int = 32 << 20  # of bottlenecks that are kept in memory; more are streamed

    def __post_init__(self) -> None:
        if self.solver not in ("auto", "adam", "sgd"):
            raise ConfigError(f"solver: {self.solver!r} is unknown; there are auto, adam and sgd")
        for name in ("batch", "steps", "validate_every", "memory_bytes"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: must be at least 1, not {getattr(self, name)}")
        for name in ("learning_rate", "epsilon"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"{name}: must be above 0, not {getattr(self, name)}")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name}: must be at least 0 and below 1, not {getattr(self, name)}")
        if not 0 <= self.weight_decay * self.learning_rate < 1:
            raise ConfigError(f"weight_decay: must be at least 0 and below 1 / learning_rate, not {self.weight_decay}")
        if self.seed < 0:
            raise ConfigError(f"seed: must be at least 0, not {self.seed}")


AUTO = Settings()
STUDY = Settings(solver="adam")


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a head is made, so that it can be made again from other examples."""

    solver: Literal["lda", "ridge", "adam"]
    shrinkage: float = 0.0  # of lda and ridge
    learning_rate: float = 0.0  # of adam, like the rest
    epsilon: float = 0.0
    steps: int = 0

    def __str__(self) -> str:
        if self.solver != "adam":
            return f"{self.solver}, shrinkage {self.shrinkage:g}"
        return f"adam, learning rate {self.learning_rate:g}, epsilon {self.epsilon:g}, {self.steps} steps"


@dataclass(frozen=True, slots=True)
class Chosen:
    """What `auto` chose when it last compared."""

    recipe: Recipe
    inverse_temperature: float
    examples: int  # there were then
    changed: int = 0  # came, went or changed their label since
