"""The figures of the daemon for Prometheus: what they are called, and where they are taken from."""

import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import agent
from agent.reporting.host import free_bytes, temperature_c
from agent.reporting.prometheus import Family
from agent.service.service import Service
from agent.service.tasks import Task

MAX_LABELS = 100  # each is a series for ever in somebody's database
_STARTED = time.time()  # of the process, near enough


def _of(task: Task) -> dict[str, str]:
    """The label that says which task a figure is of; none, where the configuration names no tasks."""
    return {"task": task.said} if task.said else {}


def families(service: Service) -> Iterator[Family]:
    yield from _about(service)
    yield from _seeing(service)
    yield from _learning(service)
    yield from _mqtt(service)
    yield from _host()


def _about(service: Service) -> Iterator[Family]:
    build = Family("lastlayer_build", "info", "What runs here.")
    for task in service.tasks:
        build.add(1, version=agent.__version__, backbone=task.backbone, platform=service.timings.platform, **_of(task))
    yield build
    head = Family("lastlayer_head", "info", "The head in service.")
    top1 = Family("lastlayer_head_top1_ratio", "gauge", "Its top-1 on validation examples.")
    examples = Family("lastlayer_head_examples", "gauge", "The examples that it was made of.")
    for task in service.tasks:
        summary = task.heads.summary
        if summary is not None:
            head.add(1, version=str(summary["version"]), solver=str(summary.get("solver") or ""), **_of(task))
            top1.add(summary.get("top1"), **_of(task))
            examples.add(summary.get("examples"), **_of(task))
    yield from (head, top1, examples)


def _seeing(service: Service) -> Iterator[Family]:
    frames = Family("lastlayer_frames", "counter", "Frames that were classified.")
    bad = Family("lastlayer_bad_frames", "counter", "Frames that were no good picture.")
    dropped = Family("lastlayer_dropped_frames", "counter", "Frames for which there was no room.")
    skipped = Family("lastlayer_skipped_frames", "counter", "Frames that showed nothing new.")
    ignored = Family("lastlayer_ignored_frames", "counter", "Frames that no view looks at.")
    for source, counts in service.seeing.counts().items():
        frames.add(counts.frames, source=source)
        bad.add(counts.bad_frames, source=source)
        dropped.add(counts.dropped, source=source)
        skipped.add(counts.skipped, source=source)
        ignored.add(counts.ignored, source=source)
    not_finite = Family("lastlayer_not_finite_frames", "counter", "Frames for which no finite numbers came out.")
    not_finite.add(service.seeing.not_finite)
    yield from (frames, bad, dropped, skipped, ignored, not_finite)
    phases = Family("lastlayer_phase_seconds", "histogram", "How long each phase took.")
    for phase, summary in service.timings.sums().items():
        phases.add_histogram(summary, phase=phase)
    yield phases


def _learning(service: Service) -> Iterator[Family]:
    examples = Family("lastlayer_examples", "gauge", "Examples in the cache.")
    of_label = Family("lastlayer_label_examples", "gauge", f"Examples of the {MAX_LABELS} labels that have the most.")
    retrainings = Family("lastlayer_retrainings", "counter", "Retrainings that ended, by how they did.")
    taken = Family("lastlayer_cache_bytes", "gauge", "What the cache takes on flash.")
    written = Family(
        "lastlayer_flash_written_bytes", "counter", "What the cache wrote to flash, before this start too."
    )
    rotten = Family("lastlayer_cache_rotten", "gauge", "Damaged records in the cache.")
    for task in service.tasks:
        counts = task.teaching.label_counts()
        examples.add(sum(counts.values()), **_of(task))
        for label in sorted(counts, key=lambda label: -counts[label])[:MAX_LABELS]:
            of_label.add(counts[label], label=label, **_of(task))
        for outcome, count in task.teaching.outcomes().items():
            retrainings.add(count, outcome=outcome, **_of(task))
        cache = task.teaching.cache_status()
        taken.add(cache["bytes"], **_of(task))
        written.add(cache["written_bytes"], **_of(task))
        rotten.add(cache["torn"] + cache["rotten"], **_of(task))
    yield from (examples, of_label, retrainings, taken, written, rotten)


def _mqtt(service: Service) -> Iterator[Family]:
    status = service.announcer.status()
    if status is not None:
        connected = Family("lastlayer_mqtt_connected", "gauge", "1 while the broker is there.")
        yield connected.add(int(status["connected"]))
        dropped = Family("lastlayer_mqtt_dropped", "counter", "Messages that the broker does not have.")
        yield dropped.add(status["dropped"])
        large = Family("lastlayer_mqtt_too_large", "counter", "Messages that the broker does not take for their size.")
        yield large.add(status["too_large"])


def _host() -> Iterator[Family]:
    yield Family("lastlayer_temperature_celsius", "gauge", "Of the hottest sensor.").add(temperature_c())
    yield Family("lastlayer_memory_available_bytes", "gauge", "Memory that can be had without swapping.").add(
        free_bytes()
    )
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = Family("process_cpu_seconds", "counter", "User and system time of this process.")
    yield cpu.add(used.ru_utime + used.ru_stime)
    memory = Family("process_resident_memory_bytes", "gauge", "Resident memory of this process.")
    yield memory.add(_resident_bytes())
    yield Family("process_start_time_seconds", "gauge", "When this process began, unix time.").add(_STARTED)


def _resident_bytes() -> int | None:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None
