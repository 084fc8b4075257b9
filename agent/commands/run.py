"""`lastlayer run`: the daemon."""

import argparse
import faulthandler
import json
import os
import signal
import threading
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from agent.board.allocator import give_back_large_blocks, share_arenas
from agent.board.systemd import Notifier
from agent.commands import SUMMARIES
from agent.commands.arguments import add_config, service_root
from agent.config import load_config
from agent.daemon import running
from agent.terminal import command

EXAMPLE = """\
example:  lastlayer run --config /etc/lastlayer.yaml
          curl --data-binary @some.jpg 'http://127.0.0.1:8080/v1/frames?camera=door'

It ends cleanly on SIGTERM and SIGINT. With --json it says its address on stdout once it listens.
"""


def register(commands: Any, options: argparse.ArgumentParser) -> None:
    parser = command(
        commands,
        "run",
        options,
        execute,
        summary=SUMMARIES["run"],
        description="Classifies the frames that cameras push over HTTP and reports over MQTT.",
        epilog=EXAMPLE,
    )
    add_config(parser)


def execute(arguments: argparse.Namespace) -> int:
    config = load_config(arguments.config)
    if arguments.backbone is not None:
        config = replace(config, backbone=arguments.backbone)
    root = service_root(arguments, config)
    give_back_large_blocks()  # pictures, above all: what one took would stay for good
    share_arenas()  # a connection is a thread
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    faulthandler.enable()  # says in the journal where every thread was, when the watchdog or the runtime ends this
    notifier = Notifier.from_environment()
    said = not arguments.json
    while not stop.is_set():  # once for each backbone that is in use
        with running(config, root, arguments.input_range, arguments.size, notifier) as daemon:
            if not said:
                socket = str(config.http.socket) if config.http.socket is not None else None
                address = {"http": daemon.server.url, "socket": socket, "state": str(root), "pid": os.getpid()}
                print(json.dumps(address), flush=True)
                said = True
            port = urlsplit(daemon.server.url).port or config.http.port
            config = replace(config, http=replace(config.http, port=port))
            daemon.watch(stop)
            if stop.is_set():
                notifier.stopping()
    return 0
