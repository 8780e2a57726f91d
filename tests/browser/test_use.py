"""The console as it is used: logging in, themes, the menu, without script, live."""

import re

import pytest
from playwright.sync_api import expect

from tests.server import wait_for

# One worker for all of them: each would start a server and a browser of its own.
pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]
READ = [
    "/admin/",
    "/admin/bugfixer/bug/",
    "/admin/bugfixer/bug/1/change/",
    "/admin/ledger/artifact/",
    "/admin/ledger/artifact/2/change/",
    "/admin/health/instance/",
    "/admin/auth/user/",
    "/status",
]


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_one_logs_in_and_out(tab, script):
    page = tab(script=script)

    page.log_in("operator", "wrong")
    expect(page.page.locator(".errornote")).to_be_visible()
    page.log_in("operator")
    expect(page.page.locator("h1")).to_contain_text(re.compile("since|Unknown"))
    page.page.get_by_role("button", name="Log out").click()
    page.open("/admin/")

    assert "/admin/login/" in page.page.url


def alike(rows: list[str], others: list[str]) -> bool:
    return rows == others and len(rows) >= 5


@pytest.mark.parametrize("path", READ)
def test_a_read_page_has_the_same_rows_without_script(tab, path):
    with_script, without = tab("root"), tab("root", script=False)

    def both() -> tuple[list[str], list[str]]:
        with_script.open(path)
        without.open(path)
        return with_script.rows(), without.rows()

    # The server goes on sequencing: between two loads a proof may come or grow.
    wait_for(lambda: alike(*both()), 10, "the same rows, five or more")


def ground(page):
    return page.page.evaluate("getComputedStyle(document.body).backgroundColor")


def test_the_theme_button_changes_the_theme_and_it_stays(tab):
    page = tab("root")
    page.open("/admin/")
    before = ground(page)

    page.page.locator(".theme-toggle").click()
    after = ground(page)
    page.open("/admin/health/instance/")

    assert (before, after) == ("rgb(255, 255, 255)", "rgb(15, 18, 22)")
    assert ground(page) == after


def test_without_script_there_is_no_theme_button_and_the_system_is_followed(tab):
    page = tab("root", theme="dark", script=False)

    page.open("/admin/")

    expect(page.page.locator(".theme-toggle")).to_be_hidden()
    assert ground(page) == "rgb(15, 18, 22)"


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_the_menu_of_a_small_screen_opens_leads_and_closes(tab, script):
    page = tab("root", width=390, script=script)
    page.open("/admin/")
    link = page.page.get_by_role("link", name="Instances", exact=True)
    menu = page.page.get_by_role("button", name="Menu")

    expect(link).to_be_hidden()
    menu.click()
    expect(link).to_be_visible()
    page.page.keyboard.press("Escape")
    expect(link).to_be_hidden()
    menu.click()
    link.click()

    assert page.page.url.endswith("/admin/health/instance/")


def test_a_filter_narrows_the_list_without_script(tab):
    page = tab("root", script=False)
    page.open("/admin/health/instance/")

    page.page.locator("summary", has_text="Hold").click()
    page.page.get_by_role("link", name="drain", exact=True).click()

    expect(page.page.locator("#result_list tbody tr")).to_have_count(1)
    expect(page.page.locator("#result_list")).to_contain_text("web-2")


def test_the_keyboard_reaches_the_content_first(tab):
    page = tab("root")
    page.open("/admin/")

    page.page.keyboard.press("Tab")
    page.page.keyboard.press("Enter")

    assert page.page.evaluate("document.activeElement.id") == "content-start"


def test_an_open_page_shows_what_happens_next(tab, site):
    page = tab("root")
    page.page.clock.install()
    page.open("/admin/")
    new = page.page.get_by_text("web-77")
    expect(new).to_have_count(0)

    site.manage(
        "shell",
        "-v",
        "0",
        "-c",
        "from ledger.services import record;"
        "record(type='restart', source='watchdog', subject='instance:web-77')",
    )
    with page.page.expect_response(lambda answer: answer.status == 200):
        page.page.clock.run_for(6000)

    expect(new).to_have_count(1)


def test_a_page_whose_server_is_gone_says_so_and_keeps_what_it_has(tab):
    page = tab("root")
    page.page.clock.install()
    page.open("/admin/")
    rows = page.rows()
    expect(page.page.locator("#stale")).to_be_hidden()

    page.page.route("**/admin/now/", lambda route: route.abort())
    page.page.clock.run_for(6000)

    expect(page.page.locator("#stale")).to_contain_text("Stale since")
    expect(page.page.locator("#stale")).to_contain_text("Asking again in 10 s.")
    assert page.rows() == rows
    page.page.unroute("**/admin/now/")
    page.page.clock.run_for(11000)
    expect(page.page.locator("#stale")).to_be_hidden()


def test_what_has_the_focus_is_not_replaced(tab):
    page = tab("root")
    page.page.clock.install()
    page.open("/admin/")
    link = page.page.locator("[data-live] a").first
    link.focus()
    page.page.evaluate("document.activeElement.dataset.mine = '1'")

    with page.page.expect_response("**/admin/now/"):
        page.page.clock.run_for(6000)

    assert page.page.evaluate("document.activeElement.dataset.mine") == "1"


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_a_breaker_is_forced_open_in_three_clicks_and_that_is_undone(tab, script):
    page = tab("root", script=script)
    page.open("/admin/breakers/")
    row = page.page.locator("tr", has=page.page.get_by_role("link", name="supabase"))

    row.get_by_role("link", name="Force open").click()
    page.page.get_by_label("Reason").fill("vendor confirms an outage")
    page.page.get_by_role("button", name="Review").click()
    expect(page.page.locator("#act")).to_contain_text("by itself")
    page.page.get_by_role("button", name="Force open everywhere").click()
    expect(page.page.locator("#done")).to_contain_text("FORCED OPEN")
    expect(row).to_contain_text("vendor confirms an outage")
    page.page.locator("#done").get_by_role("link", name="Undo").click()
    page.page.get_by_role("button", name="Review").click()
    page.page.get_by_role("button", name="End it everywhere").click()

    expect(page.page.locator("#done")).to_contain_text("the override ended")
    expect(row).to_contain_text("closed")
    assert page.complaints == []
