"""One login to the broker, as the daemon would do it, to see whether it can."""

import time

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from agent.config import MqttConfig
from agent.errors import ServiceError
from agent.reporting.broker import _password


def try_login(mqtt: MqttConfig, timeout_s: float) -> None:
    """Connects once, as another client than the daemon, and leaves.

    Raises ServiceError where the broker cannot be reached or refuses the login, ConfigError as Broker does.
    """
    where = f"the MQTT broker {mqtt.host}:{mqtt.port}"
    answers: list[ReasonCode] = []
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311, reconnect_on_failure=False)
    client.connect_timeout = timeout_s
    if mqtt.username is not None:
        client.username_pw_set(mqtt.username, _password(mqtt))
    client.on_connect = lambda _c, _u, _f, reason, _p: answers.append(reason)
    deadline = time.monotonic() + timeout_s
    try:
        client.connect(mqtt.host or "", mqtt.port)
        while not answers and time.monotonic() < deadline:
            if client.loop(timeout=0.1) != MQTTErrorCode.MQTT_ERR_SUCCESS and not answers:
                raise ServiceError(f"{where} closed the connection: is it a broker?")
    except OSError as error:
        raise ServiceError(f"{where} cannot be reached: {error.strerror or error}") from error
    finally:
        client.disconnect()
    if not answers:
        raise ServiceError(f"{where} accepts the connection and does not answer within {timeout_s:g} s")
    if answers[0].is_failure:
        raise ServiceError(f"{where} refuses the login: {answers[0]}")
