from datetime import UTC, datetime, timedelta

import pytest
from django.template import Context, Template

from fortheweebs.tags import STATES, moment, span

NOW = datetime(2026, 11, 24, 3, 41, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0.4 s"),
        (-3, "0.0 s"),
        (40, "40 s"),
        (29 * 60, "29 min"),
        (3600, "1 h"),
        (3660, "1 h 1 min"),
        (18 * 3600 + 60, "18 h"),
        (29 * 3600, "1 d 5 h"),
        (86400 * 9, "9 d"),
        (86400 * 40 + 7200, "40 d"),
    ],
)
def test_a_duration_has_at_most_two_units(seconds, words):
    assert span(seconds) == words


@pytest.mark.parametrize(
    ("at", "words"),
    [
        (NOW - timedelta(minutes=29), "03:12"),
        (NOW - timedelta(days=1), "23 Nov 03:41"),
        (NOW - timedelta(days=400), "20 Oct 2025 03:41"),
    ],
)
def test_a_time_names_its_day_only_when_it_is_not_today(at, words):
    assert moment(at, now=NOW) == words


def render(source, **context):
    return Template(source).render(Context(context))


def test_a_time_is_an_element_with_utc_and_how_long_ago():
    html = render("{% when at 'both' now %}", at=NOW - timedelta(minutes=29), now=NOW)

    assert 'datetime="2026-11-24T03:12:20Z"' in html
    assert "03:12 " in html
    assert "29 min ago" in html


def test_a_time_that_never_was_is_said_so():
    assert "never" in render("{% when at %}", at=None)


@pytest.mark.parametrize("word", STATES)
def test_each_state_is_a_shape_of_the_sprite_and_a_word(word):
    sprite = render("{% include 'console/sprite.html' %}")

    html = render("{% state word %}", word=word)

    shape, kind, shown = STATES[word]
    assert f'id="i-{shape}"' in sprite
    assert f'href="#i-{shape}"' in html
    assert f'class="s {kind}"' in html
    assert html.endswith(f"{shown}</span>")


def test_a_word_that_is_no_state_is_escaped_and_drawn_as_unknown():
    html = render("{% state word %}", word="<b>odd</b>")

    assert "&lt;b&gt;odd&lt;/b&gt;" in html
    assert "#i-dots" in html


def test_a_chart_carries_no_inline_style_and_is_named():
    html = render("{% spark values label %}", values=[0, 3], label='"x" <y>')

    assert "style" not in html
    assert 'role="img"' in html
    assert 'aria-label="&quot;x&quot; &lt;y&gt;"' in html
