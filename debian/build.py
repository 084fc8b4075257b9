"""Makes the Debian package: `python debian/build.py armhf`, or `make deb ARCH=armhf`. Needs pip and dpkg-deb.

One package for each architecture of Debian 12 and Raspberry Pi OS 12, which have Python 3.11. It brings what Debian
lacks or has too old, unpacked from wheels, and takes the rest from Debian; so a board installs it without PyPI, a
compiler or a virtual environment. The same sources and wheels give the same bytes.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import agent

PYTHON = "3.11"
# As in setup.cfg, which says why: paho-mqtt is 1.6 in Debian 12, multipart and a TFLite runtime are not there at all.
PURE = ("paho-mqtt>=2.1,<3", "multipart>=1.2,<2")
RUNTIMES: Mapping[str, tuple[str, str]] = {  # by architecture: what, and the tag of its wheel
    "armhf": ("tflite-runtime==2.14.0", "manylinux_2_34_armv7l"),
    "arm64": ("tflite-runtime==2.14.0", "manylinux_2_34_aarch64"),
    "amd64": ("ai-edge-litert>=2.1,<3", "manylinux_2_27_x86_64"),
}
# Of LiteRT: compilers for phones' accelerators and the GPU, half of its 60 MB, which no interpreter on a CPU loads.
UNUSED = ("ai_edge_litert/vendors", "ai_edge_litert/tools", "ai_edge_litert/aot", "ai_edge_litert/*WebGpu*")

DEPENDS = (
    *("python3 (>= 3.11)", "python3 (<< 3.12)"),
    *("python3-numpy", "python3-pil", "python3-psutil", "python3-yaml", "python3-tqdm", "python3-h11"),
    *("libc6 (>= 2.34)", "libgcc-s1", "libstdc++6", "systemd (>= 252)"),
)
CONTROL = """\
Package: lastlayer
Version: {version}
Architecture: {architecture}
Maintainer: The authors of Lastlayer <lastlayer@localhost>
Section: science
Priority: optional
Installed-Size: {kibibytes}
Depends: {depends}
Suggests: mosquitto, motion
Description: classifies camera frames, and retrains the last layer on the board
 A service for a small computer. Camera scripts push frames to it; it says what
 they show, remembers what people tell it about them, and retrains only the last
 layer of its network on the spot. It reports over MQTT how long every phase took.
"""

# Where things go, by where they lie here.
FILES: Mapping[str, str] = {
    "debian/lastlayer": "usr/bin/lastlayer",
    "debian/copyright": "usr/share/doc/lastlayer/copyright",
    "CHANGELOG.md": "usr/share/doc/lastlayer/CHANGELOG.md",
    "docs": "usr/share/doc/lastlayer",
    "systemd/lastlayer.yaml": "etc/lastlayer/lastlayer.yaml",
    "systemd/lastlayer.service": "lib/systemd/system/lastlayer.service",
    "systemd/sysusers.conf": "usr/lib/sysusers.d/lastlayer.conf",
    "systemd/tmpfiles.conf": "usr/lib/tmpfiles.d/lastlayer.conf",
    "agent": "usr/lib/lastlayer/agent",
    "models": "usr/lib/lastlayer/models",
}
CONFFILES = "/etc/lastlayer/lastlayer.yaml\n"
EXECUTABLE = ("usr/bin/lastlayer", "DEBIAN/postinst", "DEBIAN/prerm", "DEBIAN/postrm")


def main() -> None:
    options = argparse.ArgumentParser(description="Makes the Debian package of one architecture.")
    options.add_argument("architecture", choices=RUNTIMES)
    options.add_argument("--version", default=agent.__version__)
    options.add_argument("--wheels", type=Path, default=ROOT / "build" / "wheels", help="where they are kept")
    options.add_argument("--out", type=Path, default=ROOT / "dist", help="the folder for the package")
    arguments = options.parse_args()
    if shutil.which("dpkg-deb") is None:
        sys.exit("there is no dpkg-deb here: apt install dpkg")
    print(build(arguments.architecture, arguments.version, arguments.wheels, arguments.out))


def build(architecture: str, version: str, wheels: Path, out: Path) -> Path:
    """The package in `out`. Raises subprocess.CalledProcessError where a wheel cannot be had."""
    package = out / f"lastlayer_{version}_{architecture}.deb"
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="lastlayer-deb-") as stage:
        _stage(Path(stage), architecture, version, wheels)
        command = ["dpkg-deb", "--root-owner-group", "-Zxz", "--build", stage, str(package)]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": _stamp()}
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    return package


def _stage(stage: Path, architecture: str, version: str, wheels: Path) -> None:
    """What the package holds, as it will lie below /."""
    place_sources(stage)
    library = stage / "usr/lib/lastlayer"
    for wheel in _wheels(architecture, wheels):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(library)
    for pattern in UNUSED:
        for path in library.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    _write_control(stage, architecture, version)
    for path in [stage, *stage.rglob("*")]:
        path.chmod(0o755 if path.is_dir() or str(path.relative_to(stage)) in EXECUTABLE else 0o644)


def place_sources(stage: Path) -> None:
    """What it has of this checkout; the rest comes from wheels."""
    for source, target in FILES.items():
        _copy(ROOT / source, stage / target)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def _wheels(architecture: str, kept: Path) -> list[Path]:
    """The wheels that this architecture needs, downloaded once for each set of requirements."""
    runtime, tag = RUNTIMES[architecture]
    wanted = [runtime, *PURE]
    folder = kept / f"{architecture}-{hashlib.sha256(' '.join(wanted).encode()).hexdigest()[:8]}"
    if len(list(folder.glob("*.whl"))) != len(wanted):
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        download += ["--only-binary", ":all:", "--python-version", PYTHON, "--implementation", "cp"]
        subprocess.run([*download, "--platform", tag, "--dest", str(folder), *wanted], check=True)
    return sorted(folder.glob("*.whl"))


def _write_control(stage: Path, architecture: str, version: str) -> None:
    kibibytes = sum(path.stat().st_size for path in stage.rglob("*") if path.is_file()) // 1024
    control = stage / "DEBIAN"
    control.mkdir()
    depends = ", ".join(DEPENDS)
    text = CONTROL.format(version=version, architecture=architecture, kibibytes=kibibytes, depends=depends)
    (control / "control").write_text(text)
    (control / "conffiles").write_text(CONFFILES)
    for script in ("postinst", "prerm", "postrm"):
        shutil.copyfile(ROOT / "debian" / script, control / script)


def _stamp() -> str:
    """The unix time that all files in the package bear at most: that of the last commit."""
    if "SOURCE_DATE_EPOCH" in os.environ:
        return os.environ["SOURCE_DATE_EPOCH"]
    command = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    asked = subprocess.run(command, capture_output=True, text=True)
    return asked.stdout.strip() if asked.returncode == 0 and asked.stdout.strip() else "0"


if __name__ == "__main__":
    main()
