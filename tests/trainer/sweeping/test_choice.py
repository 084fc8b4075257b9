from agent.learning.training.validation import Scores
from trainer.sweeping.choice import choose
from trainer.sweeping.sweep import Curve, Point, Setting


def curve(rate: float, train: list[float], val: list[float], diverged: bool = False) -> Curve:
    points = [
        Point(100 * n, t, Scores(0.9, 1.0, t), Scores(0.8, 1.0, v))
        for n, (t, v) in enumerate(zip(train, val, strict=False), 1)
    ]
    return Curve(Setting("sgd", rate), tuple(points), diverged)


STEADY = curve(0.01, [0.9, 0.8, 0.7, 0.6], [1.0, 0.9, 0.8, 0.71])
# From its lowest loss on the gap goes from 0.24 to 0.35.
LOWER = curve(0.05, [0.9, 0.6, 0.4, 0.3], [1.0, 0.66, 0.64, 0.65])
OVERFITTING = curve(0.1, [0.9, 0.3, 0.1, 0.05], [1.0, 0.8, 0.9, 1.2])


def test_the_lowest_validation_loss_without_a_growing_gap_is_picked() -> None:
    choice = choose([STEADY, LOWER, OVERFITTING])
    assert choice.picked == "SGD 0.01"
    assert "SGD 0.05 reached a lower one" in choice.reason
    assert [verdict.overfits for verdict in choice.verdicts] == [False, True, True]
    assert choice.steps == 400


def test_where_every_gap_grows_the_lowest_loss_is_picked_and_the_steps_are_fewer() -> None:
    choice = choose([OVERFITTING])
    assert choice.picked == "SGD 0.1"
    assert choice.steps == 200
    assert "for fewer steps, about 200" in choice.reason
    assert "the loss was lowest at step 200, 0.800" in choice.verdicts[0].words


def test_what_diverged_is_never_picked() -> None:
    gone = curve(9.0, [], [], diverged=True)
    assert choose([gone, STEADY]).picked == "SGD 0.01"
    nothing = choose([gone])
    assert nothing.picked is None
    assert "lower learning rates" in nothing.reason


def test_a_gap_that_opened_early_and_stays_wide_is_no_steady_one() -> None:
    late = curve(0.2, [0.5, 0.1, 0.02, 0.01], [0.6, 0.8, 0.8, 0.79])  # it opens before the second half of the run
    choice = choose([late, STEADY, OVERFITTING])
    assert choice.picked == "SGD 0.01"
    assert choice.verdicts[0].overfits


def test_a_gap_that_opens_while_the_loss_still_falls_is_worth_it() -> None:
    falling = curve(0.02, [0.9, 0.6, 0.4, 0.3], [1.0, 0.7, 0.6, 0.55])
    assert choose([falling, STEADY]).picked == "SGD 0.02"
