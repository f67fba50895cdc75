"""A real browser that looks at the dashboard, in a process of its own: playwright is asyncio's.

    python -m support.chromium ADDRESS TOKEN DIRECTORY < pages.json

The pages are a JSON object from names to paths. Each is looked at on a wide screen by day, and on
a narrow one by night; the pictures are `NAME-light-1400.png` and `NAME-dark-400.png`. What was
found is printed as JSON.
"""

from __future__ import annotations

import json
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

#: The name by which systems have it.
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
#: Why there is no browser, if there is none.
MISSING = (
    "there is no Chromium"
    if CHROMIUM is None
    else None
    if find_spec("playwright") and find_spec("axe_playwright_python")
    else "it needs the packages of the group `browser`: `nox -s browser`"
)

ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
#: Colours, width and height of windows.
SCREENS = (("light", 1400, 900), ("dark", 400, 800))
#: What axe says where something is wrong: which rule, and where.
AXE = """axe.run().then(found => found.violations.map(
    each => `${each.id}: ${each.nodes.map(node => node.target.join(' ')).join(', ')}`))"""


def look(address: str, token: str, directory: Path, pages: dict[str, str]) -> dict[str, Any]:
    import axe_playwright_python
    from playwright.sync_api import sync_playwright

    axe = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
    found: dict[str, Any] = {"violations": [], "messages": [], "wide": []}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for scheme, width, height in SCREENS:
            page = browser.new_page(
                viewport={"width": width, "height": height},
                color_scheme=scheme,
                reduced_motion="reduce",
            )
            page.on("console", lambda message: found["messages"].append(message.text))
            page.on("pageerror", lambda error: found["messages"].append(str(error)))
            page.goto(f"{address}/sign-in")
            page.fill("input[name=token]", token)
            page.click("main button")
            page.wait_for_selector("text=Sign out")
            for name, path in pages.items():
                where = f"{name}-{scheme}-{width}"
                page.goto(f"{address}{path}")
                if page.locator("[hx-sse\\:connect]").count():
                    page.wait_for_selector("#live-state.on")
                found["violations"] += [f"{where}: {each}" for each in page.evaluate(axe + AXE)]
                if page.evaluate("document.documentElement.scrollWidth") > width:
                    found["wide"].append(where)
                page.screenshot(path=directory / f"{where}.png")
            page.close()
        found["keys"] = by_keyboard(browser, address, token, pages["job"])
        found["typed"] = while_it_changes(browser, address, token, pages["queue"])
        browser.close()
    return found


def while_it_changes(browser: Any, address: str, token: str, path: str) -> str:
    """Begin to say why a queue is paused; what has been typed, once the page has changed twice."""
    page = browser.new_page()
    page.goto(f"{address}/sign-in")
    page.fill("input[name=token]", token)
    page.click("main button")
    page.wait_for_selector("text=Sign out")
    page.goto(f"{address}{path}")
    page.click("text=Pause…")
    page.fill("input[name=reason]", "the relay")
    for _ in range(2):
        drawn = page.inner_html(".charts")
        page.wait_for_function(
            "drawn => document.querySelector('.charts').innerHTML !== drawn", arg=drawn
        )
    return str(page.input_value("input[name=reason]"))


def by_keyboard(browser: Any, address: str, token: str, path: str) -> list[str]:
    """Sign in and retry a job, without a mouse; what has the focus on the way."""
    page = browser.new_page()
    page.goto(f"{address}/sign-in")
    page.keyboard.type(token)
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Sign out")
    page.goto(f"{address}{path}")
    focused = []
    for _ in range(20):
        page.keyboard.press("Tab")
        focused.append(page.evaluate("document.activeElement.textContent.trim()"))
        if focused[-1] == "Retry":
            page.keyboard.press("Enter")
            page.wait_for_selector("text=It is tried once more.")
            # What happens then is seen without another look.
            page.wait_for_selector("text=attempt 4 of 4")
            break
    return focused


if __name__ == "__main__":
    given = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    json.dump(look(*given, json.load(sys.stdin)), sys.stdout)
