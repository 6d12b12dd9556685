"""A headless Chromium, driven over a pipe by its DevTools protocol: for tests and screenshots of pages.

    with Browser() as browser:
        browser.open(path.as_uri(), width=390, dark=True)
        browser.evaluate("document.title")

The protocol needs no package: JSON over two file descriptors. It uses the browser of the system, for example Debian's
package chromium; `find()` tells whether there is one.
"""

from __future__ import annotations

import base64
import json
import os
import shlex
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# No sandbox: containers offer none, and only files of the repository are opened.
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe")
PATIENCE = 60.0  # seconds for an answer


def find() -> str | None:
    """Return the path of a Chromium, or None."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Browser:
    """One page of a headless Chromium.

    Raises
    ------
    FileNotFoundError
        If there is no Chromium.
    """

    def __init__(self) -> None:
        program = find()
        if program is None:
            raise FileNotFoundError(f"there is no browser: none of {', '.join(NAMES)}")
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        read_commands, self._commands = os.pipe()
        self._answers, write_answers = os.pipe()
        arguments = [program, *OPTIONS, f"--user-data-dir={self._profile.name}", "about:blank"]
        # Chromium reads commands from descriptor 3 and answers on 4.
        line = f"exec {shlex.join(arguments)} 3<&{read_commands} 4>&{write_answers}"
        self._process = subprocess.Popen(
            ["bash", "-c", line],
            pass_fds=(read_commands, write_answers),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read_commands)
        os.close(write_answers)
        self._reader = os.fdopen(self._answers, "rb", buffering=0)
        self._rest, self._id, self._session = b"", 0, None
        self.errors: list[str] = []  # uncaught exceptions and console errors of the page
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the browser."""
        os.close(self._commands)
        self._process.terminate()
        self._process.wait()
        self._reader.close()
        self._profile.cleanup()

    def _next(self) -> dict[str, Any]:
        """Return the next message of the browser."""
        while b"\0" not in self._rest:
            # A browser that hangs is killed, so that the read returns.
            guard = threading.Timer(PATIENCE, self._process.kill)
            guard.start()
            try:
                chunk = self._reader.read(1 << 16)
            finally:
                guard.cancel()
            if not chunk:
                raise ConnectionError("the browser has ended")
            self._rest += chunk
        message, self._rest = self._rest.split(b"\0", 1)
        return json.loads(message)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        self._id += 1
        command = {"id": self._id, "method": method, "params": params}
        if self._session is not None:
            command["sessionId"] = self._session
        os.write(self._commands, json.dumps(command).encode() + b"\0")
        while True:
            message = self._next()
            self._note(message)
            if message.get("id") == self._id:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']['message']}")
                return message["result"]

    def _note(self, message: dict[str, Any]) -> None:
        """Keep the errors of the page."""
        params = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description", details["text"]))
        if message.get("method") == "Runtime.consoleAPICalled" and params["type"] == "error":
            self.errors.append(" ".join(str(one.get("value")) for one in params["args"]))

    def open(self, address: str, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Open a page and wait until it has loaded; `width` and `height` are those of the window."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url="about:blank")  # so that another fragment of the same page reloads it
        self.call("Page.navigate", url=address)
        while not self.evaluate("document.readyState === 'complete' && location.href !== 'about:blank'"):
            time.sleep(0.01)

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression of JavaScript; promises are awaited."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            details = found["exceptionDetails"]
            raise RuntimeError(details.get("exception", {}).get("description", details["text"]))
        return found["result"].get("value")

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press the mouse at a point of the window, move it to another point and release it."""
        points = [("mousePressed", start), ("mouseMoved", end), ("mouseReleased", end)]
        for kind, (x, y) in points:
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def screenshot(self, path: str | Path) -> Path:
        """Write the whole page as a PNG and return the path."""
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, **self._whole())
        path = Path(path)
        path.write_bytes(base64.b64decode(found["data"]))
        return path

    def _whole(self) -> dict[str, Any]:
        """Return the clip of the whole page."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}
