"""A real chromium without a window, driven over its DevTools protocol."""

import base64
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

from websockets.sync.client import connect
from websockets.sync.connection import Connection

from tests.waiting import until

PATIENCE_S = 60.0
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")


class Browser:
    """One page. Its profile lies in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self._connection: Connection

    def __enter__(self) -> "Browser":
        assert CHROMIUM is not None
        command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        command += ["--remote-debugging-port=0", "--window-size=1280,1100", f"--user-data-dir={self._folder}"]
        self._process = subprocess.Popen(
            [*command, "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": str(self._folder)},
            start_new_session=True,
        )
        try:
            port, path = until(self._address, PATIENCE_S)
            with connect(f"ws://127.0.0.1:{port}{path}", max_size=None, open_timeout=PATIENCE_S) as self._connection:
                page = self._call("Target.createTarget", url="about:blank")["targetId"]
            self._connection = connect(f"ws://127.0.0.1:{port}/devtools/page/{page}", max_size=None)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()
        self._end()

    def _end(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def open(self, url: str) -> None:
        self._call("Page.navigate", url=url)

    @property
    def text(self) -> str:
        """What can be read on the page."""
        return str(self.run("document.body ? document.body.innerText : ''"))

    def wait_for(self, text: str) -> None:
        """Until it can be read on the page."""
        try:
            until(lambda: text in self.text, PATIENCE_S)
        except AssertionError:
            self.screenshot(self._folder / "missing.png")
            raise AssertionError(f"{text!r} is not to be read; {self._folder}/missing.png; but: {self.text}") from None

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        return self._call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"]))

    def _address(self) -> list[str] | None:
        """Its port and path, once it listens."""
        file = self._folder / "DevToolsActivePort"
        lines = file.read_text().splitlines() if file.exists() else []
        return lines if len(lines) == 2 else None

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._count += 1
        connection = self._connection
        connection.send(json.dumps({"id": self._count, "method": method, "params": parameters}))
        while True:  # events come in between
            answer = json.loads(connection.recv(PATIENCE_S))
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                return dict(answer["result"])
