"""Every page, light and dark, wide and narrow: no fault, no violation, no scrolling."""

import pytest
from axe_playwright_python.sync_playwright import Axe

# One worker for all of them: each would start a server and a browser of its own.
pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]
PAGES = {
    "/status": ("", 200),
    "/admin/login/": ("", 200),
    "/admin/": ("root", 200),
    "/admin/breakers/": ("root", 200),
    "/admin/breakers/-/openai/": ("root", 200),
    "/admin/breakers/-/openai/forced_open/": ("root", 200),
    "/admin/breakers/-/coinbase/auto/": ("root", 200),
    "/admin/health/": ("root", 200),
    "/admin/health/instance/": ("root", 200),
    "/admin/health/instance/?hold__exact=drain": ("root", 200),
    "/admin/health/instance/?q=nothing-like-it": ("root", 200),
    "/admin/bugfixer/bug/": ("root", 200),
    "/admin/bugfixer/bug/?q=nothing-like-it": ("root", 200),
    "/admin/bugfixer/bug/1/change/": ("root", 200),
    "/admin/ledger/artifact/": ("root", 200),
    "/admin/ledger/artifact/2/change/": ("root", 200),
    "/admin/auth/user/": ("root", 200),
    "/admin/auth/user/1/change/": ("root", 200),
    "/admin/auth/user/add/": ("root", 200),
    "/admin/auth/user/2/delete/": ("root", 200),
    "/admin/auth/group/": ("root", 200),
    "/admin/auth/group/1/change/": ("root", 200),
    "/admin/knox/authtoken/": ("root", 200),
    "/admin/password_change/": ("root", 200),
    "/admin/auth/user/1/history/": ("root", 200),
    "/nope": ("", 404),
}
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
ALL, CONTRAST = RULES, ["color-contrast"]
# One page load for all four: loading and logging in anew cost more than looking. Every
# rule in each theme and in each width; what else depends on both is the contrast.
LOOKS = [
    ("light", 1366, ALL),
    ("light", 390, CONTRAST),
    ("dark", 1366, CONTRAST),
    ("dark", 390, ALL),
]


FADE = "document.getAnimations().forEach(o => o instanceof CSSTransition && o.finish())"


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_accessible_within_its_policy_and_its_width(tab, path):
    user, status = PAGES[path]
    tab = tab(user)

    answered = tab.open(path)
    tab.page.wait_for_load_state("networkidle")
    # Before axe runs: it tries inline styles of its own, which the policy refuses.
    complaints = [text for text in tab.complaints if "status of 404" not in text]
    faults = [fault for looks in LOOKS for fault in look(tab, *looks)]

    assert answered == status
    assert faults == []
    assert complaints == []


def look(tab, theme, width, rules):
    """Return what is wrong with an open page in a theme and a width."""
    tab.page.emulate_media(color_scheme=theme)
    tab.page.set_viewport_size({"width": width, "height": 768})
    # A link fades from one theme's colour to the other's; half-way it has neither.
    tab.page.evaluate(FADE)
    if tab.page.evaluate("document.documentElement.scrollWidth") > width:
        yield theme, width, "scrolls sideways"
    found = Axe().run(tab.page, options={"runOnly": rules})
    for fault in found.response["violations"]:
        where = [node["html"][:200] for node in fault["nodes"]]
        yield theme, width, fault["id"], where


@pytest.mark.parametrize("path", ["/api/docs"])
def test_the_api_docs_keep_to_a_policy(tab, path):
    page = tab("root")

    assert page.open(path) == 200
    page.page.wait_for_load_state("networkidle")
    assert [text for text in page.complaints if "Content Security" in text] == []
