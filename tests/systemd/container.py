"""A real systemd in a container: this machine's own files below an overlay that is thrown away afterwards.

Needs root, systemd-nspawn and an overlay file system. The container has its own processes and its own network, in which
there is nothing but the loopback interface, and starts none of this machine's services.
"""

import contextlib
import re
import shutil
import signal
import subprocess
import threading
from pathlib import Path
from types import TracebackType

from tests.waiting import until

PATIENCE_S = 90.0  # generous: the machine may be busy; nothing waits longer than it must
NEEDED = ("systemd-nspawn", "nsenter", "mount", "dpkg")


class CannotBootError(RuntimeError):
    """This machine has no container to offer; the message says why."""


class Container:
    """Within its block it runs. Raises CannotBootError where it cannot be had."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.root = folder / "root"  # its files, as this machine sees them
        self._console = folder / "console"
        self._init = 0  # the process id of its systemd, as this machine sees it

    def __enter__(self) -> "Container":
        missing = [name for name in NEEDED if shutil.which(name) is None]
        if missing:
            raise CannotBootError(f"{', '.join(missing)} not installed (apt-get install systemd-container util-linux)")
        scratch = self._folder / "scratch"
        for path in (self.root, scratch):
            path.mkdir()
        try:
            _run("mount", "-t", "tmpfs", "tmpfs", scratch)
            for name in ("upper", "work"):
                (scratch / name).mkdir()
            layers = f"lowerdir=/,upperdir={scratch / 'upper'},workdir={scratch / 'work'}"
            _run("mount", "-t", "overlay", "overlay", "-o", layers, self.root)
            self._forget_services()
            self.boot()
        except (subprocess.CalledProcessError, AssertionError) as error:
            said = (getattr(error, "stderr", "") or str(error)).strip()
            self._unmount()
            raise CannotBootError(f"no container can be booted here: {said}") from error
        except BaseException:
            self._unmount()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.power_off()
        self._unmount()

    def boot(self) -> None:
        """Raises AssertionError where its systemd does not come up."""
        command = ["systemd-nspawn", "-D", str(self.root), "--boot", "--quiet", "--register=no", "--keep-unit"]
        command += ["--link-journal=no", "--private-network", "--console=pipe"]
        with self._console.open("w") as console:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT
            )
        try:
            self._init = until(self._leader, PATIENCE_S)
            until(self._is_up, PATIENCE_S, 0.1)
        except AssertionError:
            self.power_off()
            raise

    def power_off(self) -> None:
        self._process.send_signal(signal.SIGTERM)  # to which nspawn shuts the container down in order
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def run(self, *words: object, user: str | None = None, stdin: bytes = b"", expect: int | None = 0) -> str:
        """What a command in the container says on stdout and stderr; `expect` is its exit code."""
        inside = ["runuser", "-u", user, "--"] if user is not None else []
        command = [
            "nsenter",
            "-t",
            str(self._init),
            "--all",
            "env",
            "-i",
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL=C",
        ]
        ended = subprocess.run(
            [*command, *inside, *map(str, words)],
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=300,
        )
        said = ended.stdout.decode(errors="replace")
        assert expect is None or ended.returncode == expect, f"{words}: exit code {ended.returncode}\n{said}"
        return said

    def _is_up(self) -> bool:
        # Degraded: something of this machine did not start, which is not what is tested here.
        return self.run("systemctl", "is-system-running", expect=None).strip() in ("running", "degraded")

    def _leader(self) -> int | None:
        """Of nspawn's children the one that is process 1 inside; there are others on the way to it."""
        ended = self._process.poll()
        if ended is not None:
            raise AssertionError(f"systemd-nspawn ended with exit code {ended}: {self._console.read_text()[-2000:]}")
        for child in Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split():
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{child}/status").read_text()
                if re.search(r"^Name:\tsystemd$.*^NSpid:.*\t1$", status, re.MULTILINE | re.DOTALL):
                    return int(child)
        return None

    def _forget_services(self) -> None:
        for target in ("multi-user", "timers", "getty", "network-online"):
            shutil.rmtree(self.root / f"etc/systemd/system/{target}.target.wants", ignore_errors=True)
        (self.root / "usr/sbin/policy-rc.d").unlink(missing_ok=True)  # with which images of containers forbid services
        (self.root / "etc/machine-id").write_text("")

    def _unmount(self) -> None:
        for path in (self.root, self._folder / "scratch"):
            for _ in range(50):  # the last process in it may be on its way out
                if subprocess.run(["umount", str(path)], capture_output=True).returncode == 0 or not path.is_mount():
                    break
                threading.Event().wait(0.1)


class Unit:
    """A service in a container."""

    def __init__(self, container: Container, name: str) -> None:
        self._container = container
        self.name = name

    def show(self, key: str) -> str:
        return self._container.run("systemctl", "show", self.name, "--value", "--property", key).strip()

    @property
    def pid(self) -> int:
        return int(self.show("MainPID"))

    @property
    def state(self) -> str:
        return self.show("ActiveState")

    def is_reached(self, *states: str) -> None:
        """Returns once it is in one of these states. Raises AssertionError with its journal if it never is."""
        try:
            until(lambda: self.state in states, PATIENCE_S, 0.1)
        except AssertionError:
            raise AssertionError(f"{self.name} is {self.state}\n{self.journal}") from None

    def is_restarted(self, after: int) -> int:
        """The new process, once it runs and is ready, after the one with the number `after`."""

        def restarted() -> int | None:
            pid = self.pid
            return pid if pid not in (0, after) and self.state == "active" else None

        try:
            return until(restarted, PATIENCE_S, 0.1)
        except AssertionError:
            raise AssertionError(f"{self.name} is {self.state}\n{self.journal}") from None

    @property
    def journal(self) -> str:
        with contextlib.suppress(AssertionError):
            self._container.run("journalctl", "--sync")
        return self._container.run("journalctl", "--unit", self.name, "--no-pager", "--output", "short")


def _run(*words: object) -> None:
    subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True)
