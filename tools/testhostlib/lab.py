"""Labs: how they come up, go down and are found again after a crash."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from . import cgroups, guest, inventory, network
from .errors import LabError
from .images import resolve
from .model import Host, Lab, Process, Setup, check_names, host_address, scenario_lab
from .system import cache_dir, locked, mounts_below, remove_tree, run, start_time, state_dir, wait_for, write_atomically

LAB_FILE = "lab.json"
FORWARD_FILE = "ip_forward.was"
CHECKOUT = Path(__file__).resolve().parent.parent.parent


def up(
    name: str,
    hosts: Sequence[tuple[str, str]],
    setup: Setup,
    owner_pid: int | None = None,
    timeout_seconds: float = 60,
) -> Lab:
    """Boot a lab; hosts are pairs of name and base. Whatever interrupts it, nothing stays behind.

    Only kill -9 and power loss leave something, which `down` finds through the lab's state file.
    """
    check_names(name, [host for host, _ in hosts])
    for bind in setup.binds:
        if not Path(bind.source).exists():
            raise LabError(f"--bind {bind.source}: no such file or directory")
    for path in (state_dir(), cache_dir(), *(Path(bind.source) for bind in setup.binds)):
        if path.resolve().is_relative_to("/run"):
            raise LabError(f"{path}: what is below /run stays hidden from hosts; choose another place")
    dns = network.machine_nameservers()
    if not dns:
        raise LabError("no name server in /etc/resolv.conf that another host could reach")
    layers = {base: resolve(base) for base in {base for _, base in hosts}}
    wanted = Lab(
        name=name,
        subnet=0,
        hosts=tuple(
            Host(host, number, host_address(0, number), base, layers[base]) for number, (host, base) in enumerate(hosts)
        ),
        starter=_process(os.getpid()),
        created=time.time(),
        checkout=str(CHECKOUT),
        setup=setup,
        owner=_process(owner_pid) if owner_pid else None,
    )
    with _undone_unless_finished(name):
        lab = _register(wanted)
        _boot(lab, dns, timeout_seconds)
        lab = dataclasses.replace(lab, ready=True)
        write_atomically(state_dir() / name / LAB_FILE, lab.to_json())
    return lab


def _register(wanted: Lab) -> Lab:
    """Take a subnet and write the state file: from here on `down` knows what there may be."""
    state = state_dir()
    with locked(state):
        if (state / wanted.name).exists():
            raise LabError(
                f"lab {wanted.name} exists already (see `testhost list`): "
                f"`testhost down --lab {wanted.name}` removes it, or choose another name"
            )
        taken = [lab.subnet for lab in labs()] + network.bridges_in_use()
        lab = wanted.moved_to(network.choose_subnet(taken, network.networks_in_use()))
        if not (state / FORWARD_FILE).exists():
            write_atomically(state / FORWARD_FILE, network.IP_FORWARD.read_text())
        partial = state / f".new-{lab.name}"
        remove_tree(partial)
        partial.mkdir(mode=0o700)
        (partial / LAB_FILE).write_text(lab.to_json())
        partial.rename(state / lab.name)
        network.IP_FORWARD.write_text("1")
    return lab


def _process(pid: int) -> Process:
    started = start_time(pid)
    if started is None:
        raise LabError(f"there is no process {pid} that could own the lab")
    return Process(pid, started)


def _boot(lab: Lab, dns: list[str], timeout_seconds: float) -> None:
    directory = state_dir() / lab.name
    mtu = network.uplink_mtu()
    network.up(lab, mtu)
    (directory / "cp").mkdir()
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"lab {lab.name}", "-f", directory / "key"])
    for host in lab.hosts:
        guest.prepare(lab, host, directory / "hosts" / host.name, mtu, dns)
    known = [guest.known_hosts_line(host, directory / "hosts" / host.name) for host in lab.hosts]
    (directory / "known_hosts").write_text("".join(known))
    (directory / "inventory.yml").write_text(inventory.as_yaml(lab, directory))
    processes = {host: guest.spawn(lab, host, directory / "hosts" / host.name) for host in lab.hosts}
    _wait_for_ssh(lab, processes, timeout_seconds)


def _wait_for_ssh(lab: Lab, processes: dict[Host, subprocess.Popen[bytes]], timeout_seconds: float) -> None:
    deadline = time.monotonic() + timeout_seconds
    waiting = dict(processes)
    while waiting:
        for host, process in list(waiting.items()):
            if process.poll() is not None:
                raise LabError(f"{host.name} ended with status {process.returncode}:\n{console_tail(lab, host)}")
            if guest.answers(host.address):
                del waiting[host]
            elif time.monotonic() > deadline:
                raise LabError(f"{host.name} has no SSH server after {timeout_seconds:g} s:\n{console_tail(lab, host)}")
        time.sleep(0.05)


def console_tail(lab: Lab, host: Host, lines: int = 25) -> str:
    """The last words of a host's console."""
    path = state_dir() / lab.name / "hosts" / host.name / "console.log"
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


@contextlib.contextmanager
def _undone_unless_finished(name: str) -> Iterator[None]:
    """Take the lab down again if its start fails or is interrupted, by whatever signal."""
    with _signals_as_exceptions():
        try:
            yield
        except BaseException:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            lab = find(name)
            if lab and lab.starter == _process(os.getpid()):
                _remove(lab)
                print(f"lab {name} did not come up: removed what there was of it", file=sys.stderr)
            raise


@contextlib.contextmanager
def _signals_as_exceptions() -> Iterator[None]:
    def interrupt(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, interrupt) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before):
            signal.signal(number, handler)


def down(name: str) -> bool:
    """Remove all of a lab; whether there was one. Ends an `up` that is under way."""
    lab = find(name)
    if lab is None:
        with locked(state_dir()):
            _leave_if_last()
        return False
    if not lab.ready and lab.starter.pid != os.getpid():
        _stop_starter(lab)
    _remove(lab)
    return True


def _stop_starter(lab: Lab) -> None:
    def gone() -> bool:
        return start_time(lab.starter.pid) != lab.starter.start_time

    if not gone():
        os.kill(lab.starter.pid, signal.SIGTERM)
        if not wait_for(gone, timeout_seconds=30):
            raise LabError(f"process {lab.starter.pid}, which starts the lab {lab.name}, does not end")


def _remove(lab: Lab) -> None:
    state = state_dir()
    directory = state / lab.name
    _close_connections(directory)
    cgroups.destroy(cgroups.lab_cgroup(lab.name))
    network.down(lab)
    with locked(state):
        # Renamed first, so that a removal that is cut short leaves no half lab under its name.
        if directory.exists():
            for point in mounts_below(directory):
                run(["umount", point])
            directory.rename(state / f".old-{lab.name}-{os.getpid()}")
        for old in state.glob(".old-*"):
            remove_tree(old)
        _leave_if_last()


def _close_connections(directory: Path) -> None:
    """End the ssh masters that Ansible left, or they would linger for minutes."""
    for control_socket in (directory / "cp").glob("*"):
        subprocess.run(
            ["ssh", "-o", f"ControlPath={control_socket}", "-O", "exit", "lab"],
            capture_output=True,
            check=False,
        )


def _leave_if_last() -> None:
    """With the last lab, put the machine's IP forwarding back and remove the state directory."""
    state = state_dir()
    if labs():
        return
    before = state / FORWARD_FILE
    if before.exists():
        network.IP_FORWARD.write_text(before.read_text())
        before.unlink()
    for partial in state.glob(".new-*"):
        remove_tree(partial)
    with contextlib.suppress(OSError):
        state.rmdir()


def labs() -> list[Lab]:
    """Every lab on this machine, by name."""
    return [Lab.from_json(path.read_text()) for path in sorted(state_dir().glob(f"[!.]*/{LAB_FILE}"))]


def find(name: str) -> Lab | None:
    """A lab by its name."""
    path = state_dir() / name / LAB_FILE
    try:
        return Lab.from_json(path.read_text())
    except FileNotFoundError:
        return None


def get(name: str) -> Lab:
    """A lab by its name, or this checkout's lab of that scenario; it must exist."""
    lab = find(name) or find(scenario_lab(name, CHECKOUT))
    if lab is None:
        known = ", ".join(lab.name for lab in labs()) or "none"
        raise LabError(f"there is no lab {name}; labs on this machine: {known}")
    return lab


def condition(lab: Lab) -> str:
    """`up`, `starting`, or what is wrong with it."""
    if lab.owner and start_time(lab.owner.pid) != lab.owner.start_time:
        return f"stale: its owner, process {lab.owner.pid}, is gone"
    if not lab.ready:
        alive = start_time(lab.starter.pid) == lab.starter.start_time
        return "starting" if alive else "stale: its start was cut short"
    if not Path(lab.checkout).exists():
        return f"stale: {lab.checkout} is gone"
    off = [h.name for h in lab.hosts if not cgroups.populated(cgroups.lab_cgroup(lab.name) / h.name)]
    if len(off) == len(lab.hosts):
        return "stale: no host is running"
    return f"off: {', '.join(off)}" if off else "up"


def ssh_command(lab: Lab, host_name: str, words: Sequence[str]) -> list[str]:
    """The command that runs words on a host, or opens a shell."""
    host = next((host for host in lab.hosts if host.name == host_name), None)
    if host is None:
        raise LabError(f"lab {lab.name} has no host {host_name}; it has {', '.join(h.name for h in lab.hosts)}")
    directory = state_dir() / lab.name
    terminal = ["-t"] if not words and sys.stdin.isatty() else []
    options = inventory.ssh_options(directory)
    # One word is a line for the host's shell; several are a command, whose words stay what they are.
    line = words if len(words) < 2 else [shlex.join(words)]
    return ["ssh", "-i", f"{directory}/key", *options, *terminal, f"root@{host.address}", "--", *line]


def power_off(lab: Lab, timeout_seconds: float = 60) -> None:
    """Shut every host down cleanly and wait for it."""
    for host in lab.hosts:
        subprocess.run(ssh_command(lab, host.name, ["systemctl", "poweroff"]), capture_output=True, check=False)
    group = cgroups.lab_cgroup(lab.name)
    if not wait_for(lambda: not cgroups.populated(group), timeout_seconds, pause_seconds=0.1):
        raise LabError(f"lab {lab.name} does not power off within {timeout_seconds:g} s")
