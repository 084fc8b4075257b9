"""A real daemon in a process of its own, and a plain HTTP client for it."""

import http.client
import json
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import yaml

ROOT = Path(__file__).resolve().parents[1]
AGENT = (sys.executable, "-m", "agent")
PATIENCE_S = 120.0  # generous: the machine may be busy; nothing waits longer than it must


def lastlayer(
    *words: object, agent: Sequence[str] = AGENT, expect: int | None = 0, **options: Any
) -> "subprocess.CompletedProcess[str]":
    """Run the command line. Raises AssertionError if it does not end with the expected exit code."""
    return _run(agent, words, expect, options)


def trainer(*words: object, expect: int | None = 0, **options: Any) -> "subprocess.CompletedProcess[str]":
    """As `lastlayer`, the command line of the trainer."""
    return _run((sys.executable, "-m", "trainer"), words, expect, options)


def loaded_after(program: str) -> set[str]:
    """The modules that a process has loaded which ran a program, a `--help` included."""
    looking = f"import sys\ntry:\n    exec({program!r})\nexcept SystemExit:\n    pass\nprint(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", looking], check=True, capture_output=True, text=True, cwd=ROOT)
    return set(ended.stdout.splitlines()[-1].split(" "))


def _run(
    program: Sequence[str], words: tuple[object, ...], expect: int | None, options: dict[str, Any]
) -> "subprocess.CompletedProcess[str]":
    command = [*program, *map(str, words)]
    options = {"cwd": ROOT, "timeout": 300, **options}
    ended = subprocess.run(command, capture_output=True, text=True, **options)
    assert expect is None or ended.returncode == expect, f"exit code {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
    return ended


class Daemon:
    """`lastlayer run` on a free port; within its block it runs, and after it it has ended with exit code 0.

    `agent` is the command that starts it, in the folder `cwd`.
    """

    def __init__(
        self,
        state: Path,
        config: Mapping[str, Any] | None = None,
        *words: str,
        token: str = "",
        agent: Sequence[str] = AGENT,
        cwd: Path = ROOT,
    ) -> None:
        settings = {"http": {"port": 0}, "report": {"window_s": 0.5}, **(config or {})}
        settings["http"] = {"port": 0, **settings["http"]}
        file = state.parent / f"{state.name}.yaml"
        file.write_text(yaml.safe_dump(json.loads(json.dumps(settings)), sort_keys=False))
        self._command = [*agent, "--state", str(state), *words]
        self._command += ["run", "--config", str(file), "--json"]
        self._cwd = cwd
        self._log = state.parent / f"{state.name}.log"
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def __enter__(self) -> "Daemon":
        with self._log.open("w") as log:
            self.process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=self._cwd)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()  # ends with the process, if that fails
        if not line:
            self.process.wait()
            raise AssertionError(f"the daemon does not start:\n{self.log}")
        self.url = json.loads(line)["http"]
        self.port = int(urlsplit(self.url).port or 0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        code = self.stop(PATIENCE_S)
        if kind is None:
            assert code in (0, -signal.SIGKILL), self.log

    def stop(self, timeout: float) -> int:
        """SIGTERM, and wait; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            if self.process.stdout is not None:
                self.process.stdout.close()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def log(self) -> str:
        return self._log.read_text()

    def ask(
        self, method: str, path: str, body: bytes | Mapping[str, Any] | None = None, expect: int | None = 200
    ) -> Any:
        """The JSON that a request is answered with. Raises AssertionError if its status is not the expected one."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            content = json.dumps(body).encode() if isinstance(body, Mapping) else body
            connection.request(method, path, content, self._headers)
            response = connection.getresponse()
            answer = json.loads(response.read())
        finally:
            connection.close()
        assert expect is None or response.status == expect, f"{response.status}: {answer}"
        return answer

    def wait_retrained(self) -> dict[str, Any]:
        """The status of the retraining, once it has ended."""
        from tests.waiting import until

        def ended() -> dict[str, Any] | None:
            status: dict[str, Any] = self.ask("GET", "/v1/retrain")
            return status if status["state"] in ("done", "failed") else None

        return until(ended, PATIENCE_S)
