"""A new head, made here or sent from elsewhere, on its way into service: stored, read back, judged, activated."""

import logging
from typing import Any

from agent.errors import StateError, UnknownHeadError
from agent.learning.heads import gate
from agent.learning.heads.store import HeadStore
from agent.learning.solving.head import Form, Head
from agent.learning.training.examples import Examples
from agent.learning.training.progress import Phases

log = logging.getLogger(__name__)


def admit(
    head: Head,
    report: dict[str, Any],
    store: HeadStore,
    examples: Examples | None,
    *,
    margin: float,
    seed: int,
    phases: Phases,
) -> tuple[str, gate.Verdict]:
    """Store a head, and put it into service if the gate lets it; its version, and what the gate said.

    One that cannot serve is not stored. It is judged as it was read back from flash, beside the head in service, on
    `examples`; None where there are none.
    Raises MismatchError for a head of another backbone than the examples, or than the store's, DamagedError for one
    that can serve none, StateError where flash fails.
    """
    if examples is not None:
        head.check(Form(examples.backbone_id, examples.size))
    version = store.add(head, report)
    verdict = _judged(store, version, examples, margin, seed, phases)
    store.judged(version, verdict.as_dict())
    if verdict.accepted:
        with phases.phase("activate"):
            store.activate(version)
    return version, verdict


def _judged(
    store: HeadStore, version: str, examples: Examples | None, margin: float, seed: int, phases: Phases
) -> gate.Verdict:
    try:
        head = store.load(version)
    except StateError as error:
        return gate.Verdict(False, f"it cannot be loaded: {error}", margin)
    if examples is None:
        return gate.judge_alone(head, margin=margin)
    return gate.judge(head, _in_service(store), examples, margin=margin, seed=seed, phases=phases)


def _in_service(store: HeadStore) -> tuple[str, Head] | None:
    """The version in service and its head, to compare with; None where there is none that can be loaded."""
    try:
        version = store.active()
        return None if version is None else (version, store.load(version))
    except (StateError, UnknownHeadError) as error:
        log.warning("the head in service is no measure: %s", error)
        return None
