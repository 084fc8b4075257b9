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
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from agent.config import MqttConfig, ReportConfig, default_node, parse_config
from agent.errors import ConfigError
from agent.reporting.announcer import Announcer
from agent.reporting.mqtt.broker import Broker
from agent.reporting.timing import Timings, table
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
    broker = Broker(config)
    live = _Live(broker, timings, window_s)
    broker.start()
    live.start()
    try:
        yield timings
    finally:
        live.stop(STOP_S)
        if broker.wait_connected(CONNECT_S):
            live.report()
        else:
            say(f"the timings were not published: {broker.last_error or 'the broker did not answer'}")
        broker.stop(STOP_S)
        if broker.dropped:
            say(f"{broker.dropped} messages to the MQTT broker {config.host} were lost")


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
