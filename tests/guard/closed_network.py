"""Refuses connections and look-ups that lead off this machine, and notes who tried.

An audit hook sees them whichever library makes them, in this process and, through
``sitecustomize`` on ``PYTHONPATH``, in every Python that a test starts.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

#: Names the file that attempts are appended to, one line each.
ATTEMPTS = "ADAPTPRUNE_TEST_ATTEMPTS"
#: Set where the network may be used.
OPEN = "ADAPTPRUNE_TEST_NETWORK"
_LOOKUPS = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}


def _host_of(event: str, arguments: tuple[Any, ...]) -> str | None:
    """Return the host that an event leads to, None for an event that leads to none."""
    if event in ("socket.connect", "socket.sendto"):
        address = arguments[-1]
        # A path of this machine is text, an address of its kernel is made of numbers.
        if isinstance(address, tuple) and isinstance(address[0], str):
            return address[0]
        return None
    host = arguments[0] if event in _LOOKUPS else None
    return host.decode() if isinstance(host, bytes) else host


def _is_here(host: str) -> bool:
    if host in ("", "localhost", os.uname().nodename):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if not event.startswith("socket.") or OPEN in os.environ:
        return
    host = _host_of(event, arguments)
    if host is None or _is_here(host):
        return
    if file := os.environ.get(ATTEMPTS):
        with open(file, "a", encoding="utf-8") as stream:
            stream.write(f"{event} {host}\n")
    raise OSError(errno.ENETUNREACH, f"the network is closed for tests: {event} {host}")


def install() -> None:
    """Refuse from now on; a hook cannot be taken away again."""
    sys.addaudithook(_refuse)


def closed_environment(attempts: Path) -> dict[str, str]:
    """Return the environment of a process without network.

    Args:
        attempts: file that notes what it tries.
    """
    environment = {key: value for key, value in os.environ.items() if key != OPEN}
    paths = [str(Path(__file__).parent), *filter(None, [environment.get("PYTHONPATH")])]
    return environment | {"PYTHONPATH": os.pathsep.join(paths), ATTEMPTS: str(attempts)}


def without_interfaces(command: list[str]) -> tuple[list[str], str | None]:
    """Return a command for a network namespace without interfaces, or why there can be none."""
    if shutil.which("unshare") is None:
        return command, "there is no `unshare` here; the socket guard alone closes the network"
    reason = ""
    for rights in ([], ["--user", "--map-root-user"]):  # as root, as anyone else
        enter = ["unshare", *rights, "--net"]
        tried = subprocess.run([*enter, "true"], capture_output=True, text=True)
        if tried.returncode == 0:
            return [*enter, *command], None
        reason = tried.stderr.strip()
    return command, f"no network namespace here ({reason}); the socket guard alone closes it"
