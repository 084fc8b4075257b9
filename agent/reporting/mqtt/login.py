"""One login to the broker, as the daemon would do it, to see whether it can."""

import time
from dataclasses import replace

from agent.config import MqttConfig
from agent.errors import ServiceError
from agent.reporting.mqtt.endpoint import Endpoint
from agent.reporting.mqtt.session import Session


def try_login(mqtt: MqttConfig, timeout_s: float) -> None:
    """Connects once, as another client than the daemon, and leaves.

    Raises ServiceError where the broker cannot be reached or refuses the login, ConfigError as Broker does.
    """
    endpoint = Endpoint.of(mqtt)
    where = f"the MQTT broker {endpoint}"
    other = replace(endpoint, node=f"{endpoint.node}-doctor")
    session = Session(other, (), lambda: None, lambda message: None, v5=False, max_message_bytes=0)
    deadline = time.monotonic() + timeout_s
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
        raise ServiceError(f"{where} accepts the connection and does not answer within {timeout_s:g} s")
