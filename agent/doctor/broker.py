"""The broker: reached, and logged in to, as the daemon would."""

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from agent.doctor.checks import Check
from agent.errors import LastlayerError, ServiceError

if TYPE_CHECKING:
    from agent.config import MqttConfig

TIMEOUT_S = 5.0


def broker(mqtt: "MqttConfig") -> Check:
    if mqtt.host is None:
        return Check("broker", "ok", "none is configured: nothing is reported")
    where = f"{mqtt.host}:{mqtt.port}"
    try:
        _log_in(mqtt)
    except ImportError as error:
        return Check("broker", "fail", f"{where} cannot be asked: {error}", "install it again, see libraries")
    except LastlayerError as error:
        return Check(
            "broker", "fail", str(error), "see mqtt.host, mqtt.port, mqtt.username and /etc/lastlayer/mqtt-password"
        )
    return Check("broker", "ok", f"{where} lets {mqtt.username or 'us'} in")


def _log_in(mqtt: "MqttConfig") -> None:
    """Connects once, as another client than the daemon, and leaves.

    Raises ServiceError where the broker cannot be reached or refuses the login, ConfigError as Broker does, and
    ImportError where paho is missing.
    """
    from agent.reporting.mqtt.endpoint import Endpoint
    from agent.reporting.mqtt.session import Session

    endpoint = Endpoint.of(mqtt)
    where = f"the MQTT broker {endpoint}"
    other = replace(endpoint, node=f"{endpoint.node}-doctor")
    session = Session(other, (), lambda: None, lambda message: None, v5=False, max_message_bytes=0)
    deadline = time.monotonic() + TIMEOUT_S
    try:
        session.connect()
        while not (session.opened or session.refusal) and time.monotonic() < deadline:
            if not session.turn() and not session.refusal:
                raise ServiceError(f"{where} {session.end}: is it a broker?")
    except OSError as error:
        raise ServiceError(f"{where} cannot be reached: {error.strerror or error}") from error
    finally:
        session.disconnect()
        session.close()
    if session.refusal:
        raise ServiceError(f"{where} {session.refusal}")
    if not session.opened:
        raise ServiceError(f"{where} accepts the connection and does not answer within {TIMEOUT_S:g} s")
