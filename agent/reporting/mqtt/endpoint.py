"""Where the broker is and how it is entered: address, login and TLS, from the configuration and the files it names."""

import os
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path

from agent.board.files import read_bounded
from agent.board.secret import MAX_CERTIFICATES_BYTES, Secret
from agent.board.systemd import MQTT_PASSWORD, credential
from agent.config import MqttConfig
from agent.errors import ConfigError

CREDENTIALS = "$CREDENTIALS_DIRECTORY"  # where systemd puts what LoadCredential= names, for this service alone


@dataclass(frozen=True)
class Endpoint:
    host: str
    port: int
    node: str
    keepalive_s: int
    username: str | None
    password: str | None
    tls: ssl.SSLContext | None
    doubt: str = ""  # what in the password is hardly meant, for people; nothing of the password itself

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @classmethod
    def of(cls, mqtt: MqttConfig) -> "Endpoint":
        """Raises ConfigError if no broker is configured, or a file that is named cannot be used."""
        if mqtt.host is None:
            raise ConfigError("mqtt.host: is not set, so there is no broker to report to")
        password, doubt = _password(mqtt)
        return cls(mqtt.host, mqtt.port, mqtt.node, mqtt.keepalive_s, mqtt.username, password, _tls(mqtt), doubt)


def secrets(mqtt: MqttConfig) -> list[Secret]:
    """The files that nobody else should read, but for credentials in a folder that systemd keeps for the service.

    Raises ConfigError as Endpoint.of does.
    """
    key = "mqtt.key_file" if mqtt.key_file else "mqtt.certificate_file"
    named = [("mqtt.password_file", _password_file(mqtt))]
    if mqtt.certificate_file is not None:
        named.append((key, _resolved(mqtt.key_file or mqtt.certificate_file, key)))
    return [Secret(name, path) for name, path in named if path is not None and not _is_kept(path)]


def _is_kept(file: Path) -> bool:
    folder = os.environ.get(CREDENTIALS[1:])
    try:
        return folder is not None and file.parent == Path(folder) and not file.parent.stat().st_mode & stat.S_IXOTH
    except OSError:
        return True  # who reads the file says what is wrong with it


def _password_file(mqtt: MqttConfig) -> Path | None:
    path = mqtt.password_file or (None if mqtt.username is None else credential(MQTT_PASSWORD))
    return None if path is None else _resolved(path, "mqtt.password_file")


def _password(mqtt: MqttConfig) -> tuple[str | None, str]:
    """The password, and what is to be said of it should the broker refuse it."""
    file = _password_file(mqtt)
    if file is None:
        return None, "" if mqtt.username is None else "no password is shown, for want of a file with one"
    return Secret("mqtt.password_file", file).password()


def _tls(mqtt: MqttConfig) -> ssl.SSLContext | None:
    """The broker has to prove who it is, always."""
    if not mqtt.tls:
        return None
    authority = None if mqtt.ca_file is None else _readable(_resolved(mqtt.ca_file, "mqtt.ca_file"), "mqtt.ca_file")
    try:
        context = ssl.create_default_context(cafile=authority)
    except (ssl.SSLError, ValueError) as error:
        why = "" if authority is None else Secret("mqtt.ca_file", authority).unreadable_pem()
        raise ConfigError(f"mqtt.ca_file: {authority} holds no certificates in PEM: {why or error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if mqtt.certificate_file is not None:
        certificate = _resolved(mqtt.certificate_file, "mqtt.certificate_file")
        key = certificate if mqtt.key_file is None else _resolved(mqtt.key_file, "mqtt.key_file")
        _readable(certificate, "mqtt.certificate_file")
        _readable(key, "mqtt.key_file")
        try:
            # Without the function OpenSSL asks on the terminal for the password of an encrypted key.
            context.load_cert_chain(certificate, key, password=lambda: "")
        except (ssl.SSLError, ValueError) as error:
            files = Secret("mqtt.certificate_file", certificate), Secret("mqtt.key_file", key)
            why = "; ".join(filter(None, (file.unreadable_pem() for file in files)))
            raise ConfigError(
                f"mqtt.certificate_file: {certificate} and {key} are not a certificate and its key, in PEM and "
                f"without a password: {why or error}"
            ) from error
    return context


def _readable(file: Path, key: str) -> Path:
    try:
        read_bounded(file, MAX_CERTIFICATES_BYTES)
        return file
    except OSError as error:
        raise ConfigError(f"{key}: {file} cannot be read: {error.strerror}") from error


def _resolved(path: Path, key: str) -> Path:
    first, *rest = path.parts or ("",)
    if first != CREDENTIALS:
        return path
    folder = os.environ.get(CREDENTIALS[1:])
    if folder is None:
        raise ConfigError(f"{key}: {path}: there is no {CREDENTIALS}: systemd sets it where a unit has LoadCredential=")
    return Path(folder, *rest)
