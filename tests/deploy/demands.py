"""What can be asked of a manifest: each question answers with who offends it."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

Found = list[dict[str, Any]]
Offenders = list[str]
GONE = object()
# Two of them would send every task twice: no rollout side by side, no budget.
ALONE = "fortheweebs-beat"
STABLE = {"v1", "apps/v1", "batch/v1", "policy/v1", "autoscaling/v2"}
STABLE |= {"networking.k8s.io/v1", "monitoring.coreos.com/v1"}
SECRET = re.compile(r"password|token|bearer|secret|^AZURE_.+KEY$", re.IGNORECASE)


# -- Reading -------------------------------------------------------------------------
def dig(tree: Any, path: str) -> Any:
    """Return what lies at a dotted path; None where nothing does."""
    for step in path.split("."):
        if isinstance(tree, list) and step.isdigit():
            tree = tree[int(step)] if int(step) < len(tree) else None
        else:
            tree = tree.get(step) if isinstance(tree, dict) else None
    return tree


def put(tree: Any, path: str, value: Any) -> None:
    """Set what lies at a dotted path; GONE takes it away."""
    where, _, last = path.rpartition(".")
    for step in where.split(".") if where else []:
        tree = tree[int(step)] if isinstance(tree, list) else tree.setdefault(step, {})
    if value is GONE:
        del tree[last]
    else:
        tree[last] = value


def label(document: dict[str, Any]) -> str:
    return f"{document['kind']}/{document['metadata']['name']}"


def of(found: Found, *kinds: str) -> Found:
    return [document for document in found if document["kind"] in kinds]


def templates(found: Found) -> Iterator[tuple[str, dict[str, Any]]]:
    for document in of(found, "Deployment", "Job"):
        yield label(document), document["spec"]["template"]


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Tell whether a selector of either form meets the labels."""
    plain = selector.get("matchLabels")
    rules = selector.get("matchExpressions", [])
    if plain is None:
        plain = {} if rules else selector
    among = all(labels.get(one["key"]) in one["values"] for one in rules)
    return plain.items() <= labels.items() and among


def scaled(found: Found, deployment: dict[str, Any]) -> dict[str, Any] | None:
    """Return the autoscaler of a deployment."""
    for one in of(found, "HorizontalPodAutoscaler"):
        target = one["spec"]["scaleTargetRef"]
        if f"{target['kind']}/{target['name']}" == label(deployment):
            return one["spec"]
    return None


def replicas(found: Found, deployment: dict[str, Any]) -> int:
    scaler = scaled(found, deployment)
    return scaler["minReplicas"] if scaler else deployment["spec"]["replicas"]


# -- Kinds of demands ----------------------------------------------------------------
def each(*kinds: str, be: Callable[[dict[str, Any], Found], Any]) -> Any:
    def offenders(found: Found) -> Offenders:
        return [label(one) for one in of(found, *kinds) if not be(one, found)]

    return offenders


def each_of_many(be: Callable[[dict[str, Any], Found], Any]) -> Any:
    """Ask each deployment but the one that must be alone."""
    return each(
        "Deployment", be=lambda d, f: d["metadata"]["name"] == ALONE or be(d, f)
    )


def each_pod(be: Callable[[dict[str, Any], Found], Any]) -> Any:
    def offenders(found: Found) -> Offenders:
        return [name for name, template in templates(found) if not be(template, found)]

    return offenders


def each_container(be: Callable[[dict[str, Any]], Any], *, main: bool = False) -> Any:
    """Ask each container; with ``main`` those of the deployments, without sidecars."""

    def offenders(found: Found) -> Offenders:
        return [
            f"{name}/{one['name']}"
            for name, template in templates(found)
            for group in ("containers", "initContainers")
            for one in template["spec"].get(group, [])
            if not (main and (group == "initContainers" or name.startswith("Job")))
            and not be(one)
        ]

    return offenders


# -- What is asked -------------------------------------------------------------------
def has_resources(one: dict[str, Any]) -> bool:
    both = ("requests", "limits")
    return all(dig(one, f"resources.{b}.{w}") for b in both for w in ("cpu", "memory"))


def has_storage(one: dict[str, Any]) -> bool:
    both = ("requests", "limits")
    return all("ephemeral-storage" in dig(one, f"resources.{b}") for b in both)


def has_tag(one: dict[str, Any]) -> bool:
    tag = re.search(r":([^:@/]+)(@sha256:[0-9a-f]{64})?$", one["image"])
    return bool(tag) and tag[1] != "latest"


def no_name_twice(one: dict[str, Any]) -> bool:
    return max(Counter(v["name"] for v in one.get("env", [])).values(), default=0) <= 1


def no_secret(one: dict[str, Any]) -> bool:
    return not any(
        SECRET.search(v["name"]) or dig(v, "valueFrom.secretKeyRef")
        for v in one.get("env", [])
    ) and not any("secretRef" in source for source in one.get("envFrom", []))


def no_root(one: dict[str, Any]) -> bool:
    uid = dig(one, "securityContext.runAsUser") or 0
    return uid >= 10000 and bool(dig(one, "securityContext.runAsNonRoot"))


def no_capabilities(one: dict[str, Any]) -> bool:
    capabilities = dig(one, "securityContext.capabilities") or {}
    return capabilities.get("drop") == ["ALL"] and not capabilities.get("add")


def harmless_ports(one: dict[str, Any]) -> bool:
    ports = one.get("ports", [])
    return len({p["name"] for p in ports}) == len(ports) and all(
        p["containerPort"] > 1024 and "hostPort" not in p and len(p["name"]) <= 15
        for p in ports
    )


def probes_meet_ports(one: dict[str, Any]) -> bool:
    names = {port["name"] for port in one.get("ports", [])}
    kinds = ("startupProbe", "readinessProbe", "livenessProbe")
    asked = {dig(one, f"{kind}.httpGet.port") for kind in kinds} - {None}
    return asked <= names


def asks(one: dict[str, Any], probe: str) -> Any:
    return dig(one, f"{probe}.httpGet") or dig(one, f"{probe}.exec")


def no_host(template: dict[str, Any], found: Found) -> bool:
    return not {"hostIPC", "hostNetwork", "hostPID"} & set(template["spec"])


def no_host_path(template: dict[str, Any], found: Found) -> bool:
    return not any("hostPath" in volume for volume in template["spec"]["volumes"])


def own_account(template: dict[str, Any], found: Found) -> bool:
    names = {one["metadata"]["name"] for one in of(found, "ServiceAccount")}
    spec = template["spec"]
    return spec.get("serviceAccountName") in names and "serviceAccount" not in spec


def no_token(template: dict[str, Any], found: Found) -> bool:
    return template["spec"].get("automountServiceAccountToken") is False


def is_isolated(template: dict[str, Any], found: Found) -> bool:
    return any(
        selects(one["spec"]["podSelector"], template["metadata"]["labels"])
        and {"ingress", "egress"} <= set(one["spec"])
        and one["spec"]["policyTypes"] == ["Ingress", "Egress"]
        for one in of(found, "NetworkPolicy")
    )


def meets_a_pod(selector: dict[str, Any], found: Found) -> bool:
    return any(selects(selector, t["metadata"]["labels"]) for _, t in templates(found))


def is_spread(deployment: dict[str, Any], found: Found) -> bool:
    template = deployment["spec"]["template"]
    spreads = template["spec"].get("topologySpreadConstraints", [])
    return bool(spreads) and all(
        one["maxSkew"] >= 1
        and one["topologyKey"]
        and selects(one["labelSelector"], template["metadata"]["labels"])
        for one in spreads
    )


def keeps_apart(deployment: dict[str, Any], found: Found) -> bool:
    template = deployment["spec"]["template"]
    way = "affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution"
    return any(
        one["podAffinityTerm"]["topologyKey"] == "kubernetes.io/hostname"
        and selects(
            one["podAffinityTerm"]["labelSelector"], template["metadata"]["labels"]
        )
        for one in dig(template["spec"], way) or []
    )


def has_budget(deployment: dict[str, Any], found: Found) -> bool:
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    budgets = of(found, "PodDisruptionBudget")
    return any(selects(one["spec"]["selector"], labels) for one in budgets)


def lets_one_go(budget: dict[str, Any], found: Found) -> bool:
    spec = budget["spec"]
    if "maxUnavailable" in spec:
        return spec["maxUnavailable"] not in {0, "0%"}
    return all(
        isinstance(spec.get("minAvailable"), int)
        and spec["minAvailable"] < replicas(found, deployment)
        for deployment in of(found, "Deployment")
        if selects(
            spec["selector"], deployment["spec"]["template"]["metadata"]["labels"]
        )
    )


def scales_what_is_there(scaler: dict[str, Any], found: Found) -> bool:
    return any(scaled(found, one) is scaler["spec"] for one in of(found, "Deployment"))


def reaches_ports(service: dict[str, Any], found: Found) -> bool:
    names = {
        port["name"]
        for _, template in templates(found)
        if selects(service["spec"]["selector"], template["metadata"]["labels"])
        for group in ("containers", "initContainers")
        for one in template["spec"].get(group, [])
        for port in one.get("ports", [])
    }
    return {port["targetPort"] for port in service["spec"]["ports"]} <= names


def monitors_something(monitor: dict[str, Any], found: Found) -> bool:
    selector = monitor["spec"]["selector"]
    labels = [one["metadata"]["labels"] for one in of(found, "Service")]
    return any(selects(selector, each) for each in labels)


def holds_paths_alone(config: dict[str, Any], found: Found) -> bool:
    """Sharper where names like SECRET_KEY_FILE are concerned: they hold a path."""
    return all(
        "PRIVATE KEY" not in value
        and (not SECRET.search(key) or (key.endswith("_FILE") and value[0] == "/"))
        for key, value in config["data"].items()
    )


def has_plain_labels(found: Found) -> Offenders:
    shape = re.compile(r"[A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?")
    return [
        label(one)
        for one in found
        if not all(map(shape.fullmatch, one["metadata"].get("labels", {}).values()))
    ]
