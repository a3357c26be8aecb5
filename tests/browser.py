"""A page in Chromium, without a window: what it measures, its keys, the settings of its reader.

Chromium's own protocol is spoken over a pair of pipes, so no package and no port is needed. A page
is loaded as it is: what a test asks runs beside the page's own scripts, whatever its policy says.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-sync", "--disable-component-update"),
    "--remote-debugging-pipe",
)


#: Functions for what is asked of the page: luminance (WCAG 2) and what lies behind an element.
COLOURS = """
const luminance = colour => {
  const parts = colour.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
};
const contrast = (one, other) => (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
const behind = element => {
  for (let e = element; e; e = e.parentElement) {
    const colour = getComputedStyle(e).backgroundColor;
    if (!colour.endsWith(", 0)")) return colour;
  }
  return "rgb(255, 255, 255)";
};
"""


class Browser:
    """One page of a running Chromium.

    Args:
        write: file descriptor that commands go to.
        read: file descriptor that answers come from.
    """

    def __init__(self, write: int, read: int):
        self._write, self._read = write, read
        self._unread = b""
        self._number = 0
        self._session: str | None = None
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self._ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]

    def _ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and return its result; what is told meanwhile is passed over."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._unread:
            part = os.read(self._read, 1 << 20)
            assert part, "Chromium has ended"
            self._unread += part
        text, _, self._unread = self._unread.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message

    def show(
        self, page: Path, width: int, height: int = 900, media: str = "", **settings: str
    ) -> None:
        """Load a page.

        Args:
            page: file.
            width: of the window, in pixels.
            height: of the window.
            media: ``print`` for the page as it is printed.
            settings: of the reader, as ``prefers_color_scheme="dark"``.
        """
        features = [{"name": k.replace("_", "-"), "value": v} for k, v in settings.items()]
        self._ask("Emulation.setEmulatedMedia", media=media, features=features)
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._ask("Emulation.setDeviceMetricsOverride", **size)
        self._ask("Page.navigate", url=page.resolve().as_uri())
        here = json.dumps(page.resolve().as_uri())
        deadline = time.monotonic() + 60
        while not self.find(f"location.href == {here} && document.readyState == 'complete'"):
            assert time.monotonic() < deadline, f"{page}: not loaded within a minute"
            time.sleep(0.05)

    def find(self, expression: str) -> Any:
        """Return the value of an expression of JavaScript, as JSON holds it."""
        found = self._ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def faint(self) -> list[Any]:
        """Return the texts whose contrast is below 4.5, as WCAG 2 asks for (AA) of small ones."""
        found: list[Any] = self.find(
            f"""(() => {{ {COLOURS}
            return [...document.querySelectorAll("body *")]
              .filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()))
              .filter(e => !["SCRIPT", "STYLE"].includes(e.tagName))
              .map(e => [e, getComputedStyle(e)])
              .map(([e, s]) => [e, e instanceof SVGElement ? s.fill : s.color])
              .map(([e, ink]) => [contrast(luminance(behind(e)), luminance(ink)), e.outerHTML])
              .map(([ratio, what]) => [ratio, what.slice(0, 90)])
              .filter(([ratio]) => ratio < 4.5); }})()"""
        )
        return found

    def press(self, key: str, code: int) -> None:
        """Press a key and let it go.

        Args:
            key: its name, as ``Tab``.
            code: its number, as ``9``.
        """
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            event = {"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code}
            self._ask("Input.dispatchKeyEvent", **event, **(text if kind == "keyDown" else {}))

    def picture(self, path: Path) -> None:
        """Write what is seen as PNG."""
        path.write_bytes(base64.b64decode(self._ask("Page.captureScreenshot")["data"]))

    def print_page(self, path: Path) -> None:
        """Write the page as it is printed, as PDF."""
        path.write_bytes(base64.b64decode(self._ask("Page.printToPDF", paperWidth=8.27)["data"]))


@contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """Start Chromium and end it; skip the test where there is none.

    Args:
        folder: for its files.
    """
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    (from_us, to_it), (from_it, to_us) = os.pipe(), os.pipe()
    command = [program, *_FLAGS, f"--user-data-dir={folder / 'browser'}"]
    # Chromium reads from file descriptor 3 and writes to 4.
    shell = f'exec "$0" "$@" 3<&{from_us} 4>&{to_us}'
    started = subprocess.Popen(
        ["bash", "-c", shell, *command],
        pass_fds=(from_us, to_us),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(from_us)
    os.close(to_us)
    try:
        yield Browser(to_it, from_it)
    finally:
        os.close(to_it)  # its end of life
        os.close(from_it)
        try:
            started.wait(20)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()
