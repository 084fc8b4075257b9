"""The broker: reached, and logged in to, as the daemon would."""

from typing import TYPE_CHECKING

from agent.doctor.checks import Check
from agent.errors import LastlayerError

if TYPE_CHECKING:
    from agent.config import MqttConfig

TIMEOUT_S = 5.0


def broker(mqtt: "MqttConfig") -> Check:
    if mqtt.host is None:
        return Check("broker", "ok", "none is configured: nothing is reported")
    where = f"{mqtt.host}:{mqtt.port}"
    try:
        from agent.reporting.mqtt.login import try_login

        try_login(mqtt, TIMEOUT_S)
    except ImportError as error:
        return Check("broker", "fail", f"{where} cannot be asked: {error}", "install it again, see libraries")
    except LastlayerError as error:
        return Check(
            "broker", "fail", str(error), "see mqtt.host, mqtt.port, mqtt.username and /etc/lastlayer/mqtt-password"
        )
    return Check("broker", "ok", f"{where} lets {mqtt.username or 'us'} in")
