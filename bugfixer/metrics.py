"""What the bug fixer counts, and how many bugs there are.

Web and worker processes count into files that the probe port merges. The bugs are counted
from the table by whoever asks for the families, on a thread that may wait for it.
"""

from collections.abc import Iterator

from prometheus_client import Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric

from bugfixer.models import Bug, Severity, Status

reports = Counter(
    "ftw_bug_reports_total", "Reports that were stored, repeats left out.", ["severity"]
)
analysis_seconds = Histogram(
    "ftw_bug_analysis_seconds",
    "How long it took to say something about a bug, by who said it.",
    ["outcome"],
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60),
)


def bug_families() -> Iterator[Metric]:
    """Yield the bugs by status and severity, with a zero where there is none."""
    family = GaugeMetricFamily(
        "ftw_bugs", "Bugs by status and severity.", labels=["status", "severity"]
    )
    counts = Bug.objects.counts()
    for status in Status.values:
        for severity in Severity.values:
            family.add_metric([status, severity], counts.get((status, severity), 0))
    yield family
