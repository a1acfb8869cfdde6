"""What a machine must have to run test hosts, and the command that brings what it lacks."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from . import cgroups
from .errors import LabError
from .system import cache_dir, run, state_dir

# Program and the Debian package that brings it.
PROGRAMS = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "nft": "nftables",
    "ip": "iproute2",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "mount": "mount",
}
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
NEEDED_GIB = 2
# File systems that cannot hold the upper layer of an overlay.
NO_UPPER_LAYER = ("overlay", "nfs", "nfs4", "cifs", "9p", "virtiofs", "vboxsf", "fuse")


def missing_packages() -> list[str]:
    """Debian packages whose programs are not there."""
    found = {package for program, package in PROGRAMS.items() if not shutil.which(program)}
    return sorted(found if KEYRING.exists() else {*found, "debian-archive-keyring"})


def install_command(packages: list[str]) -> str:
    """The line that mends missing packages."""
    return f"apt-get update && apt-get install --yes --no-install-recommends {' '.join(packages)}"


def problems() -> list[str]:
    """What keeps this machine from running test hosts, each with its remedy."""
    found = []
    packages = missing_packages()
    if packages:
        found.append(f"not installed: {', '.join(packages)}. Run: {install_command(packages)}")
    try:
        hierarchy = cgroups.hierarchy()
        if not os.access(hierarchy, os.W_OK):
            found.append(
                f"{hierarchy} is not writable, so hosts get no cgroups: use a machine or a privileged container"
            )
    except LabError as error:
        found.append(str(error))
    kind = file_system(state_dir(), Path("/proc/self/mountinfo").read_text())
    if kind.partition(".")[0] in NO_UPPER_LAYER:
        found.append(
            f"{state_dir()} is on {kind}, which cannot hold what hosts write: "
            "set TESTHOST_STATE to a directory on ext4, xfs, btrfs or tmpfs"
        )
    for what, path in (("running hosts", state_dir()), ("base images", cache_dir())):
        found += _space(what, path)
    return found


def file_system(path: Path, mountinfo: str) -> str:
    """Type of the file system that a path is on, or will be."""
    kinds = {}
    for line in mountinfo.splitlines():
        fields = line.split()
        kinds[fields[4]] = fields[fields.index("-") + 1]
    return next(kinds[str(place)] for place in (path, *path.parents) if str(place) in kinds)


def _space(what: str, path: Path) -> list[str]:
    existing = next(p for p in (path, *path.parents) if p.exists())
    free_gib = shutil.disk_usage(existing).free / 2**30
    if free_gib >= NEEDED_GIB:
        return []
    variable = "TESTHOST_STATE" if path == state_dir() else "LLM_SERVING_CACHE"
    return [
        f"{existing} has {free_gib:.1f} GiB free, {what} want {NEEDED_GIB} GiB: "
        f"free some, or set {variable} to a directory on another disk"
    ]


def ensure(install: bool) -> None:
    """Install what is missing, if wanted, and refuse to go on with any problem left."""
    if os.geteuid() != 0:
        raise LabError("this needs root, since hosts mount, bridge and boot: run it with sudo")
    packages = missing_packages()
    if install and packages:
        print(f"installing {', '.join(packages)}", file=sys.stderr)
        run(["sh", "-c", f"export DEBIAN_FRONTEND=noninteractive; {install_command(packages)}"])
    found = problems()
    if found:
        raise LabError("test hosts cannot run here:\n" + "\n".join(f"  - {problem}" for problem in found))
