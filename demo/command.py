"""`lastlayer demo`: the whole way once, on this machine, with real pictures."""

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from agent.errors import ConfigError
from agent.terminal import command, say
from demo.clients import HttpClient, Subscriber
from demo.pictures import open_pictures
from demo.processes import BROKERS, HOST, NODE, Program, running_broker, running_daemon
from demo.story import Script, Story

SEED = 2  # the picture that is shown first is one of those that it gets right

EXAMPLE = """\
example:  lastlayer demo
          lastlayer demo --photos pictures/      # pictures/CLASS/*.jpg, or whatever `lastlayer learn` takes
          lastlayer demo --keep                  # and then try it with pictures of your own

A broker and the daemon are started on free ports of the loopback, with a state of their own; both are stopped
and all is removed at the end, and on Ctrl-C too. With --json the story goes to stderr.
"""


def register(commands: Any, options: argparse.ArgumentParser) -> None:
    parser = command(
        commands,
        "demo",
        options,
        execute,
        summary="see the whole way once, with real pictures",
        description="Starts a broker and the daemon, shows them pictures, labels these, retrains, and asks again.",
        epilog=EXAMPLE,
    )
    parser.add_argument("--photos", type=Path, metavar="FOLDER", help="your own pictures (default: scikit-learn's)")
    parser.add_argument("--keep", action="store_true", help="leave broker and daemon running until Ctrl-C")
    parser.add_argument(
        "--broker", choices=BROKERS, help="which to start (default: mosquitto where it is installed, else embedded)"
    )


def execute(arguments: argparse.Namespace) -> int:
    if arguments.state is not None:
        raise ConfigError("the demo makes a state of its own and removes it: leave --state out")
    script = Script(sys.stderr if arguments.json else sys.stdout)
    began = time.monotonic()
    try:
        with _interruptible() as deaf, ExitStack() as stack:
            try:
                _perform(arguments, script, stack)
            finally:
                deaf()  # what was started is stopped in peace
    except KeyboardInterrupt:
        say("\ninterrupted: all that was started has been stopped")
        return 130
    took = "" if arguments.keep else f" {time.monotonic() - began:.1f} s in all."
    script.say(f"\nThe daemon and the broker are stopped, their folder is removed.{took}")
    return 0


def _perform(arguments: argparse.Namespace, script: Script, stack: ExitStack) -> None:
    """The demo; whatever it starts is put on the stack."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lastlayer-demo-")))
    script.say("Lastlayer demo: a board that learns")
    script.chapter("A broker and the daemon")
    broker, port = stack.enter_context(running_broker(arguments.broker, folder))
    script.row("broker", f"{broker}, {HOST}:{port}")
    daemon, url_of_daemon = stack.enter_context(running_daemon(port, arguments.backbone, arguments.input_range, folder))
    pictures = stack.enter_context(open_pictures(arguments.photos, SEED))  # while the daemon starts
    subscriber = stack.enter_context(Subscriber(HOST, port, f"lastlayer/{NODE}/#"))
    url = url_of_daemon()
    script.row("daemon", url)
    http = HttpClient(url)
    stack.callback(http.close)
    told = Story(http, daemon, subscriber, pictures, script).tell()
    if arguments.json:
        print(json.dumps(told, ensure_ascii=False, indent=1), flush=True)
    if arguments.keep:
        _keep(script, url, port, folder, daemon)


def _keep(script: Script, url: str, port: int, folder: Path, daemon: Program) -> None:
    """Until Ctrl-C. Raises LastlayerError if the daemon ends by itself."""
    script.chapter("Yours, until Ctrl-C")
    script.row("state", f"{folder / 'state'}, removed at the end")
    script.row("log", f"{daemon.log}")
    script.row("ask", f"curl --data-binary @some.jpg {url}/v1/frames")
    script.row("label", f"curl --data-binary @some.jpg '{url}/v1/frames?label=something'")
    script.row("retrain", f"curl -X POST {url}/v1/retrain")
    script.row("listen", f"mosquitto_sub -h {HOST} -p {port} -v -t 'lastlayer/{NODE}/#'")
    try:
        daemon.process.wait()
    except KeyboardInterrupt:
        return
    raise daemon.ended()


@contextmanager
def _interruptible() -> Iterator[Callable[[], None]]:
    """SIGTERM and a closed terminal interrupt as Ctrl-C does, once. The call that it gives ends even that."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def deaf() -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)

    def interrupt(*_: object) -> None:
        deaf()
        raise KeyboardInterrupt

    before = [signal.signal(number, interrupt) for number in numbers]
    try:
        yield deaf
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
