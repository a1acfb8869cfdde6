"""One host: the files that make it itself, and the process that keeps it running."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path

from . import cgroups
from .model import Host, Lab
from .system import run

COMMAND = Path(__file__).resolve().parent.parent / "testhost"
# nspawn's exit status when the guest asked for a reboot, which --keep-unit leaves to the caller.
REBOOT = 133
MACHINE_CAS = Path("/usr/local/share/ca-certificates")
CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
PROXY_VARIABLES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


def identity_files(lab: Lab, host: Host, mtu: int, dns: list[str]) -> dict[str, str]:
    """Files that make a host itself: path without the leading slash, and text."""
    neighbours = "".join(f"{other.address} {other.name}\n" for other in lab.hosts)
    return {
        "etc/hostname": f"{host.name}\n",
        "etc/hosts": f"127.0.0.1 localhost\n::1 localhost ip6-localhost\n{neighbours}",
        "etc/machine-id": f"{uuid.uuid4().hex}\n",
        "etc/resolv.conf": "".join(f"nameserver {server}\n" for server in dns),
        "etc/systemd/network/10-host0.network": (
            f"[Match]\nName=host0\n\n[Link]\nMTUBytes={mtu}\n\n"
            f"[Network]\nAddress={host.address}/24\nGateway={lab.gateway}\n"
            "LinkLocalAddressing=no\nIPv6AcceptRA=no\n"
        ),
    }


def environment_file(lab: Lab, has_own_cas: bool, caller: Mapping[str, str]) -> str:
    """Text of /etc/environment: proxies, and where clients with CA lists of their own find this machine's.

    pip, requests and uv ship CA lists; without these variables they refuse a registry that is reached
    through TLS interception.
    """
    pairs = {name: caller[name] for name in PROXY_VARIABLES if caller.get(name)}
    if has_own_cas:
        pairs.update(dict.fromkeys(("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE"), CA_BUNDLE))
    pairs.update(lab.setup.environment)
    return "".join(f'{name}="{value}"\n' for name, value in pairs.items())


def machine_cas() -> dict[str, str]:
    """Certificates that were added to this machine's trust: name and PEM text."""
    return {path.name: path.read_text() for path in sorted(MACHINE_CAS.rglob("*.crt"))}


def prepare(lab: Lab, host: Host, directory: Path, mtu: int, dns: list[str]) -> None:
    """Lay out a host's directory: its upper layer holds all that differs from the base."""
    upper = directory / "upper"
    for path in (upper, directory / "work", directory / "root"):
        path.mkdir(parents=True)
    upper.chmod(0o755)  # becomes the host's /
    files = identity_files(lab, host, mtu, dns)
    cas = machine_cas()
    files["etc/environment"] = environment_file(lab, bool(cas), os.environ)
    if cas:
        files.update({f"usr/local/share/ca-certificates/{name}": text for name, text in cas.items()})
        bundle = next(
            path for path in (Path(layer) / CA_BUNDLE[1:] for layer in host.layers) if path.exists()
        ).read_text()
        missing = [text.strip() + "\n" for text in cas.values() if text.strip() not in bundle]
        files[CA_BUNDLE[1:]] = bundle + "".join(missing)
    for name, text in files.items():
        _write(upper, host.layers, name, text)
    _write(upper, host.layers, "root/.ssh/authorized_keys", (directory.parent.parent / "key.pub").read_text())
    (upper / "root/.ssh").chmod(0o700)
    _host_key(upper / "etc/ssh", host)


def _write(upper: Path, layers: tuple[str, ...], name: str, text: str) -> None:
    """Write a file into the upper layer; a directory there must carry the mode of the one it covers."""
    path = upper / name
    for parent in reversed(path.relative_to(upper).parents):
        directory = upper / parent
        if not directory.exists():
            directory.mkdir()
            below = [Path(layer) / parent for layer in layers if (Path(layer) / parent).is_dir()]
            directory.chmod(below[0].stat().st_mode & 0o7777 if below else 0o755)
    path.write_text(text)
    path.chmod(0o644)


def _host_key(directory: Path, host: Host) -> None:
    directory.mkdir(exist_ok=True)
    key = directory / "ssh_host_ed25519_key"
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", host.name, "-f", key])


def known_hosts_line(host: Host, directory: Path) -> str:
    """Line of known_hosts for a host that was laid out in a directory."""
    public = (directory / "upper/etc/ssh/ssh_host_ed25519_key.pub").read_text().split()
    return f"{host.address} {public[0]} {public[1]}\n"


def spawn(lab: Lab, host: Host, directory: Path) -> subprocess.Popen[bytes]:
    """Boot a host in the background, inside of its cgroup from the first instruction on."""
    cgroup = cgroups.lab_cgroup(lab.name) / host.name
    cgroups.create(cgroup)
    enter = 'echo $$ > "$1"/cgroup.procs && shift && exec "$@"'
    supervise = [sys.executable, str(COMMAND), "_supervise", str(directory.parent.parent), host.name]
    with (directory / "console.log").open("wb") as console:
        return subprocess.Popen(
            ["sh", "-c", enter, "sh", cgroup, "unshare", "--mount", "--propagation", "private", "--", *supervise],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            start_new_session=True,
            cwd="/",
        )


def nspawn_command(lab: Lab, host: Host, root: Path) -> list[str]:
    """The command that boots a host."""
    words = [
        "systemd-nspawn",
        "--boot",
        "--quiet",
        "--register=no",
        "--keep-unit",
        f"--directory={root}",
        f"--machine={lab.machine(host)}",
        f"--hostname={host.name}",
        f"--network-bridge={lab.bridge}",
        "--resolv-conf=off",
        "--timezone=off",
        "--link-journal=no",
        "--console=pipe",
        # So that units with DevicePolicy= and IPAddressDeny= are enforced as on a real host.
        "--capability=CAP_BPF,CAP_NET_ADMIN",
        "--system-call-filter=bpf",
    ]
    words += [f"--bind{'-ro' if b.read_only else ''}={b.source}:{b.target}" for b in lab.setup.binds]
    return words


def supervise(lab: Lab, host: Host, directory: Path) -> int:
    """Mount a host's root and run it until it powers off. Runs in a mount namespace of its own."""
    # First of all: mount(8) and nspawn would write into the machine's /run.
    run(["mount", "--no-mtab", "-t", "tmpfs", "tmpfs", "/run"])
    Path("/run/systemd").mkdir()
    root = directory / "root"
    options = f"lowerdir={':'.join(host.layers)},upperdir={directory}/upper,workdir={directory}/work"
    run(["mount", "--no-mtab", "-t", "overlay", "overlay", "-o", options, root])
    # The unified hierarchy alone, also on a hybrid machine: guests expect what current hosts have.
    run(["umount", "--recursive", "/sys/fs/cgroup"])
    run(["mount", "--no-mtab", "-t", "cgroup2", "cgroup2", "/sys/fs/cgroup"])
    environment = {**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
    while True:
        status = subprocess.run(nspawn_command(lab, host, root), env=environment, check=False).returncode
        if status != REBOOT:
            return status


def answers(address: str, timeout_seconds: float = 1) -> bool:
    """Whether an SSH server greets at an address."""
    try:
        with socket.create_connection((address, 22), timeout=timeout_seconds) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False
