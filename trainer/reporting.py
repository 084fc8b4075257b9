"""How long the trainer's phases take: timed as on the board, and published live to the same broker.

add_options(command)                                     --mqtt HOST[:PORT], --node, …
with reporting(arguments, runtime="keras-torch") as timings:
    with timings.phase("convert"):
        ...
show_with_phases(arguments, payload, text, timings)
"""

import argparse
import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from agent.config import MqttConfig, ReportConfig, default_node, parse_config
from agent.errors import ConfigError
from agent.reporting.announcer import Announcer
from agent.reporting.mqtt.broker import Broker
from agent.reporting.timing import Timings, platform_name, table
from agent.terminal import say, show

CONNECT_S = 5.0  # how long the end of a command waits for a broker that has been away
STOP_S = 2.0


def add_options(options: argparse.ArgumentParser) -> None:
    group = options.add_argument_group("reporting over MQTT")
    group.add_argument("--mqtt", metavar="HOST[:PORT]", help="the broker that is told how long phases take")
    group.add_argument("--mqtt-user", metavar="NAME", help="the user to log in as")
    group.add_argument("--mqtt-password-file", metavar="F", type=Path, help="a file with that user's password")
    group.add_argument("--node", metavar="NAME", help="of the topics lastlayer/NAME/… (HOST-trainer)")


@contextlib.contextmanager
def reporting(
    arguments: argparse.Namespace, runtime: str, window_s: float = ReportConfig().window_s
) -> Iterator[Timings]:
    """The timings of a command, role `trainer`; with --mqtt they are published every window and at the end.

    `runtime` is what does the work, such as ai_edge_litert, numpy or keras-jax. A broker that is away delays the
    reports and ends nothing: a window stays open until there is a connection. Raises ConfigError for bad options.
    """
    config = mqtt_config(arguments)
    timings = Timings(node=config.node, runtime=runtime, role="trainer")
    if config.host is None:
        yield timings
        return
    with _told(config) as broker:
        live = _Live(broker, timings, window_s)
        live.start()
        try:
            yield timings
        finally:
            live.stop(STOP_S)
            if _is_there(broker):
                live.report()


@contextlib.contextmanager
def reporting_measurements(arguments: argparse.Namespace) -> Iterator[Callable[[dict[str, Any]], None]]:
    """What publishes a document of `bench`, if there is a --mqtt: a timing report for each of its measurements.

    Raises ConfigError for bad options.
    """
    config = mqtt_config(arguments)
    if config.host is None:
        yield lambda document: None
        return
    began = time.monotonic()
    with _told(config) as broker:

        def publish(document: dict[str, Any]) -> None:
            if _is_there(broker):
                for report in measured_reports(document, config.node, time.monotonic() - began):
                    broker.report(f"timing/{report['phase']}", report)

        yield publish


def measured_reports(document: dict[str, Any], node: str, window_s: float) -> Iterator[dict[str, Any]]:
    """A timing report for each measurement and each epoch of a document of `bench`, without its `seq`.

    Beside what every timing report has, they have the conditions, and `network` where one was measured: these tell
    reports of one phase apart.
    """
    runtime = document["platform"]["runtime"]
    lots = [({"network": each["name"]}, each["runtime"], each["measurements"]) for each in document["networks"]]
    epochs = [
        dict.fromkeys(("min_ms", "p50_ms", "p95_ms", "max_ms"), epoch["mean_ms"])
        | {"phase": epoch["phase"], "mean_ms": epoch["mean_ms"], "std_ms": epoch["std_ms"] or 0.0}
        | {"n": max(1, epoch["n"]), "images": epoch["images"]}
        | {"conditions": {"classes": epoch["classes"], "extrapolated": epoch["extrapolated"]}}
        for epoch in document["projections"]
    ]
    for about, by, measurements in [*lots, ({}, runtime, [*document["measurements"], *epochs])]:
        for one in measurements:
            times = {name: float(value) for name, value in one.items() if name.endswith("_ms")}
            yield {
                "phase": one["phase"],
                "count": one["n"],
                **times,
                "images": one["n"] * one["images"],
                "window_s": window_s,
                "node": node,
                "role": "trainer",
                "platform": platform_name(by),
                "ts": time.time_ns() // 1_000_000,
                **one["conditions"],
                **about,
            }


@contextlib.contextmanager
def _told(config: MqttConfig) -> Iterator[Broker]:
    broker = Broker(config)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop(STOP_S)
        if broker.dropped:
            say(f"{broker.dropped} messages to the MQTT broker {config.host} were lost")


def _is_there(broker: Broker) -> bool:
    """At the end: what it is told then goes out, or it is said that it does not."""
    there = broker.wait_connected(CONNECT_S)
    if not there:
        say(f"the timings were not published: {broker.last_error or 'the broker did not answer'}")
    return there


def show_with_phases(arguments: argparse.Namespace, payload: dict[str, Any], text: str, timings: Timings) -> None:
    """A result on stdout, as agent.terminal.show does it, with how long the phases took."""
    reports = timings.since_start()
    show(arguments, payload | {"phases": [report.as_dict() for report in reports]}, f"{text}\n\n{table(reports)}")


def mqtt_config(arguments: argparse.Namespace) -> MqttConfig:
    """The options as the agent's configuration has them, under the same rules. Raises ConfigError."""
    settings = {
        "node": arguments.node or f"{default_node()}-trainer",  # an agent on this machine has a node of its own
        "username": arguments.mqtt_user,
        "password_file": None if arguments.mqtt_password_file is None else str(arguments.mqtt_password_file),
    }
    if arguments.mqtt is not None:
        try:
            address = urlsplit(f"//{arguments.mqtt}")
            settings |= {"host": address.hostname or "", "port": 1883 if address.port is None else address.port}
        except ValueError as error:
            raise ConfigError(f"--mqtt: must be HOST or HOST:PORT, not {arguments.mqtt!r:.80}: {error}") from error
        if address.netloc != arguments.mqtt or address.username is not None:
            raise ConfigError(f"--mqtt: must be HOST or HOST:PORT, not {arguments.mqtt!r:.80}")
    return parse_config(json.dumps({"mqtt": settings}), "the options of --mqtt").mqtt


class _Live:
    """Publishes a window after the other from a thread of its own."""

    def __init__(self, broker: Broker, timings: Timings, window_s: float) -> None:
        self._broker, self._timings, self._window_s = broker, timings, window_s
        self._announcer = Announcer(broker)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reporting", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float) -> None:
        self._stopping.set()
        self._thread.join(timeout)

    def report(self) -> None:
        self._announcer.timings(self._timings.reports())

    def _run(self) -> None:
        while not self._stopping.wait(self._window_s):
            if self._broker.connected:
                self.report()
