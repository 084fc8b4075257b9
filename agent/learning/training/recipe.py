"""How a head is made."""

from dataclasses import dataclass
from typing import Literal


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
