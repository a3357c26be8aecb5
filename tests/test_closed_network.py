"""The guard that closes the network for all tests: it refuses what leads off, and notes it."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from closed_network import closed_environment
from conftest import ATTEMPTS

if TYPE_CHECKING:
    from pathlib import Path

CALLS = {
    "connect": "socket.create_connection(('192.0.2.1', 80), timeout=1)",
    "look-up": "socket.getaddrinfo('example.org', 443)",
    "http": "import urllib.request; urllib.request.urlopen('http://192.0.2.1/')",
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_what_leads_off_this_machine_is_refused_and_noted(call: str) -> None:
    with pytest.raises(OSError, match="the network is closed for tests"):
        exec(call)
    assert ATTEMPTS.read_text().strip()
    ATTEMPTS.write_text("")  # this one was meant


def test_a_process_that_a_test_starts_is_closed_too(tmp_path: Path) -> None:
    code = f"import socket\ntry:\n    {CALLS['connect']}\nexcept OSError:\n    pass"
    attempts = tmp_path / "attempts.txt"
    subprocess.run([sys.executable, "-c", code], env=closed_environment(attempts), check=True)
    assert attempts.read_text() == "socket.getaddrinfo 192.0.2.1\n"


def test_this_machine_may_be_called() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()
        socket.getaddrinfo("localhost", 80)
    assert ATTEMPTS.read_text() == ""
