"""`lastlayer doctor`: why the service would fail, before it does."""

import argparse
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agent.commands import SUMMARIES
from agent.commands.arguments import SERVICE_CONFIG, add_config, service_root
from agent.doctor.broker import broker
from agent.doctor.checks import Check, worst
from agent.doctor.machine import machine
from agent.doctor.service import access, address, answers, flash, state, unix_socket
from agent.doctor.tasks import tasks
from agent.errors import ConfigError
from agent.terminal import command, show

# What systemd tells the service, for whom looks at it from outside: the credential is the file that it is loaded from.
SERVICE_ENVIRONMENT = {
    "STATE_DIRECTORY": "/var/lib/lastlayer",
    "RUNTIME_DIRECTORY": "/run/lastlayer",
    "CREDENTIALS_DIRECTORY": str(SERVICE_CONFIG.parent),
}

EXAMPLE = """\
example:     sudo lastlayer doctor
             lastlayer doctor --config lastlayer.yaml --json

It looks at Python, the libraries, the TFLite runtime, the processor, the C library, the memory controller, the clock,
the configuration, the room on flash, the state folder, the address, the broker, the backbone and the head of each task,
its labels, and what no task looks at, changes nothing, and says of each how it is and what to do. Without --config it
looks at the service's /etc/lastlayer/lastlayer.yaml where there is one.

exit codes:  0 nothing fails, though there may be warnings · 1 the service would fail · 2 wrong usage
"""


def register(commands: Any, options: argparse.ArgumentParser) -> None:
    parser = command(
        commands,
        "doctor",
        options,
        execute,
        summary=SUMMARIES["doctor"],
        description="Says why the service would fail, before it does, and what to do.",
        epilog=EXAMPLE,
    )
    add_config(parser)


def execute(arguments: argparse.Namespace) -> int:
    config = arguments.config
    if config is None and SERVICE_CONFIG.exists():
        config = SERVICE_CONFIG
    if config == SERVICE_CONFIG:
        for variable, value in SERVICE_ENVIRONMENT.items():
            os.environ.setdefault(variable, value)
    checks = [*machine(), *_service(arguments, config)]
    show(arguments, {"outcome": worst(checks), "checks": [asdict(check) for check in checks]}, _text(checks))
    return 1 if worst(checks) == "fail" else 0


def _service(arguments: argparse.Namespace, path: Path | None) -> list[Check]:
    try:
        from agent.config import load_config

        config = load_config(path)
    except ImportError as error:
        return [
            Check("config", "fail", f"cannot be read without its library: {error}", "install it again, see libraries")
        ]
    except ConfigError as error:
        return [Check("config", "fail", str(error), "docs/config.md names every key")]
    root = service_root(arguments, config)
    http, backbone = config.http, arguments.backbone or config.backbone
    serving = answers(http.host, http.port, tls=http.tls_certificate is not None)
    return [
        Check("config", "ok", str(path) if path is not None else "the defaults, for want of a file"),
        flash(root),
        state(root, serving=serving),
        address(http.host, http.port, serving=serving),
        *_asked("access", lambda: [access(http)]),
        unix_socket(http.socket),
        broker(config.mqtt),
        *_asked("model", lambda: tasks(config, root, backbone)),
    ]


def _asked(name: str, checks: Callable[[], list[Check]]) -> list[Check]:
    """Checks for which libraries are needed."""
    try:
        return checks()
    except ImportError as error:
        found = f"cannot be looked at without its library: {error}"
        return [Check(name, "fail", found, "install it again, see libraries")]


def _text(checks: list[Check]) -> str:
    lines = []
    for check in checks:
        lines.append(f"{check.outcome:<5} {check.name:<10} {check.found}")
        if check.advice:
            lines.append(f"{'':16} → {check.advice}")
    return "\n".join(lines)
