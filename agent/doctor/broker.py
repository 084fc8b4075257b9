"""The broker: reached, and logged in to, as the daemon would."""

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from agent.doctor.checks import Check, warned_of_open
from agent.errors import LastlayerError, ServiceError

if TYPE_CHECKING:
    from agent.config import MqttConfig
    from agent.reporting.mqtt.capabilities import Capabilities
    from agent.reporting.mqtt.endpoint import Endpoint
    from agent.reporting.mqtt.negotiation import Negotiation
    from agent.reporting.mqtt.session import Session

TIMEOUT_S = 5.0
FEW_BYTES = 16_384  # the discovery of a board with a dozen phases and cameras


def broker(mqtt: "MqttConfig") -> Check:
    if mqtt.host is None:
        return Check("broker", "ok", "none is configured: nothing is reported")
    where = f"{mqtt.host}:{mqtt.port}"
    try:
        endpoint = _endpoint(mqtt)
        capabilities = _log_in(endpoint)
    except ImportError as error:
        return Check("broker", "fail", f"{where} cannot be asked: {error}", "install it again, see libraries")
    except LastlayerError as error:
        return Check(
            "broker", "fail", str(error), "see mqtt.host, mqtt.port, mqtt.username and /etc/lastlayer/mqtt-password"
        )
    from agent.reporting.mqtt.endpoint import secrets

    found = f"{where} lets {mqtt.username or 'us'} in"
    if endpoint.password is not None and endpoint.doubt:
        return Check("broker", "warn", f"{found}; but {endpoint.doubt}", "type the password into the file anew")
    return warned_of_open(_judged(capabilities, found), secrets(mqtt))


def _endpoint(mqtt: "MqttConfig") -> "Endpoint":
    from agent.reporting.mqtt.endpoint import Endpoint

    return Endpoint.of(mqtt)


def _judged(capabilities: "Capabilities", found: str) -> Check:
    few = f"takes packets of {capabilities.packet_bytes} bytes at most: what is larger is dropped and counted"
    wanting = [*capabilities.missing, *([few] if capabilities.packet_bytes < FEW_BYTES else [])]
    if not wanting:
        return Check("broker", "ok", found)
    advice = "let the broker do it: retain_available, max_qos, max_packet_size in mosquitto"
    return Check("broker", "warn", "; it ".join([found, *wanting]), advice)


def _log_in(endpoint: "Endpoint") -> "Capabilities":
    """Connects once, as another client than the daemon, and leaves; what the broker takes.

    Raises ServiceError where the broker cannot be reached or refuses the login, and ImportError where paho is missing.
    """
    from agent.reporting.mqtt.negotiation import Negotiation

    where = f"the MQTT broker {endpoint}"
    negotiation = Negotiation()
    while True:
        try:
            session = _greeted(endpoint, negotiation)
        except OSError as error:
            raise ServiceError(f"{where} cannot be reached: {error.strerror or error}") from error
        if session.opened:
            return session.capabilities
        if negotiation.lower(session):
            continue
        if negotiation.v5 and session.is_unanswered:
            negotiation.v5 = False
        elif session.refusal:
            raise ServiceError(f"{where} {session.refusal}")
        elif session.is_silent:
            raise ServiceError(f"{where} accepts the connection and does not answer within {TIMEOUT_S:g} s")
        else:
            raise ServiceError(f"{where} {session.end}: is it a broker?")


def _greeted(endpoint: "Endpoint", negotiation: "Negotiation") -> "Session":
    """A connection that has ended, with the answer to its login, if one came in time. Raises OSError."""
    from agent.reporting.mqtt.capabilities import MAX_PACKET_BYTES
    from agent.reporting.mqtt.session import Session

    other = replace(endpoint, node=f"{endpoint.node}-doctor")
    session = Session(
        other,
        (),
        lambda: None,
        lambda message: None,
        v5=negotiation.v5,
        max_message_bytes=MAX_PACKET_BYTES,
        capabilities=negotiation.capabilities,
    )
    deadline = time.monotonic() + TIMEOUT_S
    try:
        session.connect()
        while session.turn() and not session.opened and time.monotonic() < deadline:
            pass
    finally:
        session.disconnect()
        session.close()
    return session
