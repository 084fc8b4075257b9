"""A small ext4 file system on a loop device, to count what really goes to a device. Needs root and losetup."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def available() -> bool:
    return (
        os.geteuid() == 0
        and all(map(shutil.which, ("losetup", "mkfs.ext4", "mount")))
        and Path("/dev/loop-control").exists()
    )


class LoopDevice:
    def __init__(self, device: str, mount: Path) -> None:
        self._device = device
        self._counters = Path("/sys/block") / Path(device).name / "stat"
        self.mount = mount

    def remount(self) -> None:
        """As a machine does that starts again."""
        _run("umount", self.mount)
        _run("mount", self._device, self.mount)

    def written_bytes(self) -> int:
        """By all that was ever sent to the device, after everything that waits was."""
        os.sync()
        return int(self._counters.read_text().split()[6]) * 512  # sectors written; a sector is 512 bytes here always


@contextmanager
def ext4(folder: Path, size_bytes: int) -> Iterator[LoopDevice]:
    """Raises subprocess.CalledProcessError where there is no loop device to be had."""
    image, mount = folder / "image", folder / "mount"
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate(size_bytes)
    device = _run("losetup", "--find", "--show", image)
    try:
        # Nothing left to be initialised in the background, which would be counted.
        _run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", device)
        _run("mount", device, mount)
        try:
            yield LoopDevice(device, mount)
        finally:
            _run("umount", mount)
    finally:
        _run("losetup", "--detach", device)
        image.unlink()


def _run(*words: object) -> str:
    return subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True).stdout.strip()
