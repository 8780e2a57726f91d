"""A real server and a real Chromium for the browser's tests."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.server import Installation

PASSWORD = "a long password 1"


@pytest.fixture(scope="session")
def site() -> Iterator[Installation]:
    """Serve a filled installation by gunicorn, as `make run` does."""
    with Installation() as installation:
        installation.manage("collectstatic", "--noinput", "-v", "0")
        installation.manage("shell", "-v", "0", "-c", "from tests.browser import seed")
        installation.start_web()
        yield installation


# A module at a time: while it runs, Playwright's loop keeps Django's ORM from being
# used in this thread, and modules of other folders may come between two of these.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Start Chromium; without one skip, or fail where everything is required."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        sentence = "no Chromium on PATH: apt-get install chromium"
        if os.environ.get("REQUIRE_ALL") == "1":
            pytest.fail(sentence)
        pytest.skip(sentence)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox"]
        )
        yield browser
        browser.close()


@dataclass
class Tab:
    """A page and what it complained about."""

    page: Page
    base: str
    complaints: list[str] = field(default_factory=list)

    def open(self, path: str) -> int:
        """Open a path; return the status."""
        answer = self.page.goto(self.base + path)
        assert answer is not None
        return answer.status

    def log_in(self, name: str, password: str = PASSWORD) -> None:
        """Log in by the form."""
        self.open("/admin/login/")
        self.page.get_by_label("Username").fill(name)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Log in").click()

    def rows(self) -> list[str]:
        """Return the text of every row and line, without what ages by the second."""
        texts = self.page.locator("main :is(tr, li, dl > div)").all_inner_texts()
        ages = r"\d+(\.\d+)? (s|min)( ago| left)?|\d\d:\d\d(:\d\d)?|\d+ ms"
        return [re.sub(r"\s+", " ", re.sub(ages, "", text)).strip() for text in texts]


OpenTab = Callable[..., Tab]


@pytest.fixture(scope="module")
def states(chromium: Browser, site: Installation) -> Iterator[Callable[[str], Any]]:
    """Return the cookies of a user logged in once a module."""
    known: dict[str, Any] = {}

    def state_of(name: str) -> Any:
        if name not in known:
            context = chromium.new_context()
            tab = Tab(context.new_page(), f"http://127.0.0.1:{site.port}")
            tab.log_in(name)
            assert tab.page.url.endswith("/admin/")
            known[name] = context.storage_state()
            context.close()
        return known[name]

    return state_of


@pytest.fixture
def tab(
    chromium: Browser, site: Installation, states: Callable[[str], Any]
) -> Iterator[OpenTab]:
    """Open a tab: `tab("root", theme="dark", width=390)`."""
    contexts: list[BrowserContext] = []

    def new(
        user: str = "", *, theme: Any = "light", width: int = 1366, script: bool = True
    ) -> Tab:
        context = chromium.new_context(
            color_scheme=theme,
            viewport={"width": width, "height": 768},
            java_script_enabled=script,
            storage_state=states(user) if user else None,
        )
        contexts.append(context)
        found = Tab(context.new_page(), f"http://127.0.0.1:{site.port}")
        found.page.on(
            "console",
            lambda message: (
                found.complaints.append(message.text)
                if message.type in {"error", "warning"}
                else None
            ),
        )
        found.page.on("pageerror", lambda error: found.complaints.append(str(error)))
        return found

    yield new
    for context in contexts:
        context.close()
