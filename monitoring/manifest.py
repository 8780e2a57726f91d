"""Write k8s/monitoring.yaml from rules.yaml, or check that it is up to date.

`python -m monitoring.manifest [--check]`
"""

import argparse
import sys
from pathlib import Path
from textwrap import indent

HERE = Path(__file__).resolve().parent
RULES = HERE / "rules.yaml"
MANIFEST = HERE.parent / "k8s" / "monitoring.yaml"
HEAD = """\
# Made from monitoring/rules.yaml by `python -m monitoring.manifest`: edit there.
# Needs the Prometheus operator: `kubectl apply -f k8s/monitoring.yaml`.
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  name: fortheweebs
  labels: {app: fortheweebs}
spec:
  # The headless Service: every pod of every part, the ones that are not ready too.
  selector:
    matchLabels: {app: fortheweebs, component: metrics}
  endpoints:
    - port: probe
      path: /metrics
      interval: 15s
      # A scrape reads files and memory; one that takes longer is itself a finding.
      scrapeTimeout: 5s
      relabelings:
        # The pod's name instead of its address: what the runbooks ask kubectl for.
        - {sourceLabels: [__meta_kubernetes_pod_name], targetLabel: instance}
        # Not component: a family has a label of that name, which would be renamed.
        - {sourceLabels: [__meta_kubernetes_pod_label_component], targetLabel: part}
---
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: fortheweebs
  labels: {app: fortheweebs}
spec:
"""


def manifest() -> str:
    """Return the manifest that carries the rules as they are, comments included."""
    return HEAD + indent(RULES.read_text(), "  ")


def write_or_check(path: Path, text: str, *, check: bool) -> int:
    """Write the file, or return 1 when it is not what would be written."""
    if not check:
        path.write_text(text)
    elif not path.exists() or path.read_text() != text:
        sys.stderr.write(f"{path.name} is not up to date: leave --check out once\n")
        return 1
    return 0


def run(path: Path, text: str, description: str | None) -> int:
    """Read the one flag and do it."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--check", action="store_true", help="write nothing")
    return write_or_check(path, text, check=parser.parse_args().check)


if __name__ == "__main__":
    sys.exit(run(MANIFEST, manifest(), __doc__))
