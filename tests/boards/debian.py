"""Debian packages of any architecture in a folder: without root, a container or a foreign architecture in dpkg.

apt works with a configuration of its own here: its lists, its archives and an empty list of what is installed are in
one folder; of this machine's apt it reads where the Debian archive is and by which proxy, and changes nothing.
"""

import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

SUITE = "bookworm"  # Debian 12: what the boards run
KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
TOOLS = ("apt-get", "dpkg-deb", "tar")

CONFIGURATION = """\
Dir "{folder}";
Dir::State "{folder}";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}";
Dir::Etc "{folder}";
Dir::Etc::Main "/etc/apt/apt.conf";
Dir::Etc::Parts "/etc/apt/apt.conf.d";
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::Retries "3";
"""


class UnavailableError(RuntimeError):
    """What cannot be had on this machine, and why: the reason to skip a test."""


def archive() -> str:
    """The address of the Debian archive that this machine's own apt uses. Raises UnavailableError."""
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        raise UnavailableError(f"no {', '.join(missing)} here: Debian's packages cannot be had")
    if not KEYS.exists():
        raise UnavailableError(f"no {KEYS} here: packages cannot be verified (apt-get install debian-archive-keyring)")
    listing = _run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN) $(LABEL) $(REPO_URI)", "Identifier: Packages"], {}
    )
    for line in listing.splitlines():
        origin, _, rest = line.partition(" ")
        label, _, address = rest.partition(" ")
        if origin == label == "Debian":
            return address
    raise UnavailableError("apt knows of no Debian archive here; where it should: apt-get update")


@dataclass(frozen=True)
class Packages:
    """Those of one suite and architecture; `folder` keeps what was fetched, which is not fetched again."""

    folder: Path
    architecture: str
    suite: str = SUITE

    def fetch(self, names: Sequence[str], alone: Sequence[str] = ()) -> list[Path]:
        """The .deb files of packages and all that they depend on, and of those `alone`. Raises UnavailableError."""
        archives = self.folder / "archives"
        (archives / "partial").mkdir(parents=True, exist_ok=True)
        (self.folder / "lists").mkdir(exist_ok=True)
        (self.folder / "status").touch()
        (self.folder / "preferences.d").mkdir(exist_ok=True)
        source = f"deb [signed-by={KEYS}] {archive()} {self.suite} main\n"
        (self.folder / "sources.list").write_text(source)
        configuration = self.folder / "apt.conf"
        configuration.write_text(CONFIGURATION.format(folder=self.folder, architecture=self.architecture))
        environment = {"APT_CONFIG": str(configuration)}
        _run(["apt-get", "update", "--quiet", "--error-on=any"], environment)
        if names:
            _run(["apt-get", "install", "--quiet", "--yes", "--download-only", *names], environment)
        if alone:
            _run(["apt-get", "download", "--quiet", *alone], environment, cwd=archives)
        _run(["apt-get", "autoclean", "--quiet"], environment)  # what newer versions have replaced
        return sorted(archives.glob("*.deb"))


def unpack(packages: Iterable[Path], folder: Path, members: Sequence[str] = ()) -> None:
    """Lay out the packages' files in a folder, all of them or those named (`./usr/bin/…`); no script of them is run."""
    for directory in ("bin", "sbin", "lib"):  # since Debian 12 these are one with those in /usr
        (folder / "usr" / directory).mkdir(parents=True, exist_ok=True)
        if not (folder / directory).is_symlink():
            (folder / directory).symlink_to(f"usr/{directory}")
    extract = ["tar", "--extract", "--directory", str(folder), "--keep-directory-symlink", "--no-same-owner", *members]
    for package in packages:
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as contents:
            subprocess.run(extract, stdin=contents.stdout, check=True)
        if contents.returncode:
            raise UnavailableError(f"{package} cannot be unpacked")


def _run(words: list[str], environment: dict[str, str], cwd: Path | None = None) -> str:
    ended = subprocess.run(words, capture_output=True, text=True, env={**os.environ, **environment}, cwd=cwd)
    if ended.returncode:
        said = (ended.stderr.strip() or ended.stdout.strip() or f"it ended with {ended.returncode}").splitlines()
        raise UnavailableError(f"{' '.join(words[:2])}: {said[-1]}")
    return ended.stdout
