"""A real Chromium for the tests of pages: started once, skipped with a reason where there is none."""

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from typing import Final, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]  # it ships no types
from playwright.sync_api import Browser, Page, sync_playwright

ARGUMENTS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
GRAVE: Final = frozenset({"serious", "critical"})
WAIT_MS: Final = 15_000

DESKTOP, NARROW, NARROWEST = (1280, 900), (390, 844), (360, 740)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Start Chromium, or skip the test where the machine has none."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("there is no Chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def opened(
    browser: Browser,
    url: str,
    *,
    size: tuple[int, int] = DESKTOP,
    scheme: Literal["light", "dark"] = "light",
    expected: str | None = None,
) -> Iterator[Page]:
    """Open a page in a profile of its own. Once it is left, it must have complained of nothing, but of `expected`."""
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,
        ignore_https_errors=True,
        reduced_motion="reduce",
    )
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(f"script: {error}"))
    page.on("console", lambda said: complaints.append(f"console: {said.text}") if said.type == "error" else None)
    try:
        page.goto(url)
        yield page
    finally:
        context.close()
    assert [] == [one for one in complaints if expected is None or expected not in one]
    assert bool(complaints) == (expected is not None)


def grave_violations(page: Page) -> Sequence[str]:
    """Return what axe-core calls a serious or critical violation, with the elements that it means."""
    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {', '.join(str(node['target']) for node in one['nodes'])}"
        for one in found
        if one["impact"] in GRAVE
    ]
