import argparse
import json
import threading
from pathlib import Path

import pytest

from agent.config import default_node
from agent.errors import ConfigError
from agent.reporting.timing import TimingReport
from tests.daemon import trainer
from tests.mosquitto import Listener, Mosquitto
from trainer.reporting import add_options, mqtt_config, reporting


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_options(parser)
    return parser.parse_args(words)


def test_without_a_broker_phases_are_timed_all_the_same() -> None:
    with reporting(options(), "keras-torch") as timings, timings.phase("convert"):
        pass
    (report,) = timings.since_start()
    assert (report.phase, report.role, report.node) == ("convert", "trainer", f"{default_node()}-trainer")
    assert report.platform.endswith("-keras-torch")


def test_a_phase_is_published_while_the_work_goes_on_and_the_rest_at_its_end(mosquitto: Mosquitto) -> None:
    address = f"{mosquitto.host}:{mosquitto.port}"
    with Listener(mosquitto) as listener:
        with reporting(options("--mqtt", address, "--node", "desk"), "numpy", window_s=0.05) as timings:
            with timings.phase("step", images=64):
                pass
            (live,) = listener.wait_for("lastlayer/desk/timing/step")
            with timings.phase("evaluate"):
                pass
        (last,) = listener.wait_for("lastlayer/desk/timing/evaluate")
        listener.wait_for("lastlayer/desk/availability", lambda payload: payload == "offline")
    report = TimingReport.from_dict(live)
    assert (report.role, report.images, report.seq) == ("trainer", 64, 1)
    assert TimingReport.from_dict(last).count == 1
    assert not [thread for thread in threading.enumerate() if thread.name in ("reporting", "mqtt")]


def test_what_was_timed_while_the_broker_was_away_is_published_when_it_is_back(mosquitto: Mosquitto) -> None:
    mosquitto.stop()
    address = f"{mosquitto.host}:{mosquitto.port}"
    with reporting(options("--mqtt", address, "--node", "desk"), "numpy", window_s=0.01) as timings:
        for _ in range(3):
            with timings.phase("step"):
                pass
        assert not timings.since_start()[0].seq  # the window is still open
        mosquitto.start()
        with Listener(mosquitto) as listener:
            (report,) = listener.wait_for("lastlayer/desk/timing/step")
    assert report["count"] == 3


def test_a_broker_that_never_comes_ends_nothing_and_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.reporting.CONNECT_S", 0.5)
    with reporting(options("--mqtt", "127.0.0.1:1"), "numpy") as timings, timings.phase("step"):
        pass
    assert "not published: the MQTT broker 127.0.0.1:1" in capsys.readouterr().err


@pytest.mark.slow
def test_bench_publishes_each_of_its_measurements(mosquitto: Mosquitto, tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="the pictures are those inside scikit-learn")
    words = ("--quick", "--networks", "small", "--scratch", tmp_path, "--json")
    with Listener(mosquitto) as listener:
        address = f"{mosquitto.host}:{mosquitto.port}"
        document = json.loads(trainer("bench", *words, "--mqtt", address, "--node", "desk").stdout)
        listener.wait_for("lastlayer/desk/availability", lambda payload: payload == "offline")
        measured = [*document["networks"][0]["measurements"], *document["measurements"]]
        for phase in {each["phase"] for each in measured} | {"epoch"}:
            lots = listener.wait_for(f"lastlayer/desk/timing/{phase}")
            for report in lots:
                TimingReport.from_dict(report)
                assert (report["role"], report["node"]) == ("trainer", "desk")
        (decode,) = listener.wait_for("lastlayer/desk/timing/decode")
    (figures,) = (each for each in measured if each["phase"] == "decode")
    assert decode["network"] == "small" and decode["platform"].endswith(document["networks"][0]["runtime"])
    assert decode["mean_ms"] == figures["mean_ms"] and decode["images"] == decode["count"] == figures["n"]


def test_an_error_of_the_work_gets_out(mosquitto: Mosquitto) -> None:
    address = f"{mosquitto.host}:{mosquitto.port}"
    with pytest.raises(ZeroDivisionError), reporting(options("--mqtt", address), "numpy"):
        _ = 1 / 0


def test_a_login_is_used(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret\n")
    with Mosquitto(tmp_path, users={"desk": "secret"}) as broker, Listener(broker, login=("desk", "secret")) as heard:
        words = ("--mqtt", f"{broker.host}:{broker.port}", "--mqtt-user", "desk")
        arguments = options(*words, "--mqtt-password-file", str(tmp_path / "password"), "--node", "n")
        with reporting(arguments, "numpy") as timings, timings.phase("step"):
            pass
        (report,) = heard.wait_for("lastlayer/n/timing/step")
    assert report["count"] == 1


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [("broker", "broker", 1883), ("10.0.0.2:8883", "10.0.0.2", 8883), ("[::1]:1884", "::1", 1884)],
)
def test_an_address_is_a_host_and_perhaps_a_port(address: str, host: str, port: int) -> None:
    config = mqtt_config(options("--mqtt", address))
    assert (config.host, config.port) == (host, port)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--mqtt", "mqtt://broker"), "HOST:PORT"),
        (("--mqtt", "me:secret@broker"), "HOST:PORT"),
        (("--mqtt", "broker:x"), "HOST:PORT"),
        (("--mqtt", "broker:99999"), "HOST:PORT"),
        (("--mqtt", "broker:0"), "mqtt.port"),
        (("--mqtt", ""), "mqtt.host"),
        (("--mqtt", "broker", "--node", "a/b"), "mqtt.node"),
        (("--mqtt", "broker", "--mqtt-password-file", "p"), "needs a user"),
    ],
)
def test_bad_options_are_named(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        mqtt_config(options(*words))
