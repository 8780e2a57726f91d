"""Template built-ins, named in settings: when, state, spark, icon, and the words.

They need no request and no database, so that error pages and /status use them too.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from fortheweebs import charts

register = template.Library()

MINUTE, HOUR, DAY = 60, 3600, 86400
# word -> (shape, kind, word shown): a state is told by shape, word, then colour.
STATES: dict[str, tuple[str, str, str]] = {
    **{word: ("tick", "ok", word) for word in ("ok", "pass", "ready", "closed")},
    "warn": ("tri", "warn", "WARN"),
    "fail": ("x", "fail", "FAIL"),
    "not ready": ("x", "fail", "not ready"),
    "open": ("open", "fail", "OPEN"),
    "half_open": ("half", "warn", "HALF-OPEN"),
    "forced_open": ("lock", "ink", "FORCED OPEN"),
    "disabled": ("slash", "ink", "DISABLED"),
    "metrics_only": ("dot", "ink", "METRICS ONLY"),
    "observe": ("dot", "ink", "OBSERVE"),
    "drain": ("drain", "ink", "DRAIN"),
    "pending": ("dash", "quiet", "pending"),
    "sequenced": ("ring", "quiet", "sequenced"),
    "anchored": ("anchor", "ok", "anchored"),
    "mismatch": ("ne", "fail", "MISMATCH"),
    "unknown": ("dots", "quiet", "unknown"),
    "critical": ("bang", "fail", "critical"),
    "high": ("bars3", "quiet", "high"),
    "medium": ("bars2", "quiet", "medium"),
    "low": ("bars1", "quiet", "low"),
    "new": ("plus", "quiet", "new"),
    "regressed": ("turn", "warn", "regressed"),
}
UNKNOWN = ("dots", "quiet")


@register.simple_tag
def icon(shape: str, kind: str = "", size: int = 12) -> SafeString:
    """Draw one shape of the sprite; the word beside it carries the meaning."""
    return format_html(
        '<svg class="i {}" width="{}" height="{}" aria-hidden="true">'
        '<use href="#i-{}"/></svg>',
        kind,
        size,
        size,
        shape,
    )


@register.simple_tag
def state(word: str, say: str = "") -> SafeString:
    """Draw the badge of a state; ``say`` replaces the word, never the shape."""
    shape, kind, shown = STATES.get(str(word).lower(), (*UNKNOWN, str(word)))
    return format_html(
        '<span class="s {}">{}{}</span>', kind, icon(shape), say or shown
    )


@register.simple_tag
def spark(values: Sequence[int], label: str, loud_from: int = 0) -> SafeString:
    """Draw counts as bars, named for those who do not see them."""
    chart = charts.spark(values, loud_from=loud_from)
    bars = format_html_join(
        "",
        '<rect{} x="{}" y="{}" width="3" height="{}"/>',
        (
            (SafeString(' class="fail"') if bar.loud else "", bar.x, bar.y, bar.height)
            for bar in chart.bars
        ),
    )
    return format_html(
        '<svg class="k" viewBox="0 0 {} {}" width="112" height="16"'
        ' preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>',
        chart.width,
        chart.height,
        label,
        bars,
    )


@register.simple_tag
def day(
    points: Sequence[charts.Rate | None],
    spans: Sequence[charts.Lasting],
    now: datetime,
    label: str,
) -> SafeString:
    """Draw the last day in a row: how often, and below it when something lasted."""
    drawn = charts.trace(points, width=144, top=1, base=18)
    return format_html(
        '<svg class="k" viewBox="0 0 144 24" width="112" height="24"'
        ' preserveAspectRatio="none" role="img" aria-label="{}">{}{}</svg>',
        label,
        _paths(drawn),
        _bars(spans, now, width=144, y=21, height=3),
    )


@register.simple_tag
def big_day(
    points: Sequence[charts.Rate | None],
    spans: Sequence[charts.Lasting],
    now: datetime,
    label: str,
) -> SafeString:
    """Draw the last day over the whole width, with its times below."""
    drawn = charts.trace(points, width=576, top=2, base=98)
    hours = [f"{now - timedelta(hours=back):%H:%M}" for back in (24, 18, 12, 6)]
    times = format_html_join(
        " ", '<span class="r">{}</span>', ((one,) for one in (*hours[1:], "now"))
    )
    return format_html(
        '<svg class="k" viewBox="0 0 576 100" width="100%" height="96"'
        ' preserveAspectRatio="none" role="img" aria-label="{}"><title>{}</title>'
        '<path d="M0 2H576M0 50H576M0 98H576" {} stroke-opacity=".25"/>'
        '<g fill-opacity=".15">{}</g>{}{}{}</svg>'
        '<p class="bar q"><span>{}</span> {}</p>',
        label,
        label,
        _STROKE,
        _bars(spans, now, width=576, y=0, height=100),
        _bars(spans, now, width=576, y=96, height=4),
        _area(drawn),
        _paths(drawn),
        hours[0],
        times,
    )


_STROKE = SafeString(
    'fill="none" stroke="currentColor" vector-effect="non-scaling-stroke"'
)


def _paths(drawn: charts.Trace) -> SafeString:
    """Draw what is known as a line, and a dotted base where nothing is."""
    return format_html(
        '<path d="{}" {}/><path d="{}" {} stroke-dasharray="2 3"/>',
        drawn.line,
        _STROKE,
        drawn.gaps,
        _STROKE,
    )


def _area(drawn: charts.Trace) -> SafeString:
    return format_html('<path class="fail" d="{}"/>', drawn.area)


def _bars(
    spans: Sequence[charts.Lasting], now: datetime, *, width: int, y: int, height: int
) -> SafeString:
    return format_html_join(
        "",
        f'<rect class="{{}}" x="{{}}" y="{y}" width="{{}}" height="{height}"/>',
        (
            (stripe.kind, f"{stripe.x:.1f}", f"{stripe.width:.1f}")
            for stripe in charts.stripes(spans, now=now, width=width)
        ),
    )


def span(seconds: float) -> str:
    """Say a duration in at most two units: 0.4 s, 29 min, 1 d 5 h."""
    if seconds < 1:
        return f"{max(seconds, 0):.1f} s"
    if seconds < MINUTE:
        return f"{seconds:.0f} s"
    if seconds < HOUR:
        return f"{seconds // MINUTE:.0f} min"
    big, small, names = (
        (DAY, HOUR, "d h") if seconds >= DAY else (HOUR, MINUTE, "h min")
    )
    whole, rest = divmod(int(seconds), big)
    first, second = names.split()
    few = whole < 10 and rest // small
    return f"{whole} {first} {rest // small} {second}" if few else f"{whole} {first}"


def moment(value: datetime, *, now: datetime, seconds: bool = False) -> str:
    """Say a time in UTC, with its day and year only when they differ from today."""
    value = value.astimezone(UTC)
    clock = f"{value:%H:%M:%S}" if seconds else f"{value:%H:%M}"
    if value.date() == now.date():
        return clock
    year = f" {value.year}" if value.year != now.year else ""
    return f"{value.day} {value:%b}{year} {clock}"


@register.simple_tag
def when(
    value: datetime | None, how: str = "both", now: datetime | None = None
) -> SafeString:
    """Write a time: ``both``, ``at`` (UTC), ``clock`` (with seconds) or ``ago``.

    The element always carries the full UTC time; the script adds the viewer's zone.
    """
    if value is None:
        return format_html('<span class="q">{}</span>', "never")
    now = now or datetime.now(UTC)
    at = moment(value, now=now, seconds=how == "clock")
    ago = span((now - value).total_seconds()) + " ago"
    text = {"at": at, "clock": at, "ago": ago}.get(how)
    iso = f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    title = f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC, {ago}"
    if text is None:
        text = format_html('{} <span class="q">{}</span>', at, ago)
    return format_html('<time datetime="{}" title="{}">{}</time>', iso, title, text)


@register.filter
def number(value: float | None) -> str:
    """Write a count with commas."""
    return "" if value is None else f"{value:,}"


@register.filter
def lasting(seconds: float | None) -> str:
    """Write a duration in seconds as words; what is short in milliseconds."""
    if seconds is None:
        return ""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else span(seconds)


@register.filter
def lasts(since: datetime, now: datetime) -> str:
    """Say how long something has been so."""
    return span((now - since).total_seconds())


@register.filter
def checked(now: datetime, age: float) -> str:
    """Say when something ``age`` seconds old was looked at."""
    at = now - timedelta(seconds=age)
    return f"{moment(at, now=now, seconds=True)} UTC, {span(age)} ago"
