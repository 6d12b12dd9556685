"""A headless Chromium, driven by Playwright: for tests and screenshots of pages.

    with Browser() as browser:
        browser.open(path.as_uri(), width=390, dark=True)
        browser.evaluate("document.title")

It uses the browser of the system, for example Debian's package chromium, and not one that Playwright downloads.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PATIENCE = 60_000.0  # milliseconds for an answer


def find() -> str | None:
    """Return the path of a Chromium, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextlib.contextmanager
def launched() -> Iterator[Any]:
    """Yield Playwright's Browser, and end it with the block.

    Raises
    ------
    RuntimeError
        If there is no Chromium or no Playwright.
    """
    path = find()
    if path is None:
        raise RuntimeError(f"no browser: one of {', '.join(NAMES)} must be on the PATH")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise RuntimeError("no Playwright: pip install playwright") from error
    with sync_playwright() as playwright:
        # No sandbox: containers offer none, and only files of the repository are opened.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


class Browser:
    """One page of a headless Chromium.

    Raises
    ------
    RuntimeError
        As `launched`.
    """

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._page = self._stack.enter_context(launched()).new_page()
        self._page.set_default_timeout(PATIENCE)
        self.errors: list[str] = []  # uncaught exceptions and console errors of the page
        self._page.on("pageerror", lambda error: self.errors.append(str(error)))
        self._page.on("console", lambda line: self.errors.append(line.text) if line.type == "error" else None)

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the browser."""
        self._stack.close()

    def open(self, address: str, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Open a page and wait until it has loaded; `width` and `height` are those of the window."""
        self._page.set_viewport_size({"width": width, "height": height})
        self._page.emulate_media(color_scheme="dark" if dark else "light")
        self._page.goto("about:blank")  # so that another fragment of the same page reloads it
        self._page.goto(address, wait_until="load")

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression of JavaScript; promises are awaited."""
        return self._page.evaluate(f"() => ({expression})")

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press the mouse at a point of the window, move it to another point and release it."""
        mouse = self._page.mouse
        mouse.move(*start)
        mouse.down()
        mouse.move(*end)
        mouse.up()

    def screenshot(self, path: str | Path) -> Path:
        """Write the whole page as a PNG and return the path."""
        self._page.screenshot(path=path, full_page=True)
        return Path(path)
