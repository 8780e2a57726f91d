"""What three linters of manifests ask for, question by question.

The names are those of kube-score 1.20 (39, of which 33 by default), kube-linter 0.8 (63,
31 by default) and Polaris 10.2 (44); the questions are answered here in our own words.
Each demand comes with one way to break it.
"""

import copy
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.deploy import demands as ask
from tests.deploy.demands import (
    GONE,
    STABLE,
    Found,
    Offenders,
    dig,
    each,
    each_container,
    each_of_many,
    each_pod,
    label,
    of,
    put,
)
from tests.deploy.tools import documents

ALL = [*documents("deployment.yaml"), *documents("monitoring.yaml")]


@dataclass(frozen=True, slots=True)
class Demand:
    """A demand, the names it goes by, and what would break it: where, path, value."""

    names: str
    offenders: Callable[[Found], Offenders]
    broken_by: tuple[str, str, Any]


def web(path: str, value: Any) -> tuple[str, str, Any]:
    return pod(f"containers.0.{path}", value)


def pod(path: str, value: Any) -> tuple[str, str, Any]:
    return "Deployment/fortheweebs-api", f"spec.template.spec.{path}", value


DEMANDS = [
    Demand(
        "score:container-resources linter:unset-cpu-requirements"
        " linter:unset-memory-requirements polaris:cpuLimitsMissing"
        " polaris:cpuRequestsMissing polaris:memoryLimitsMissing"
        " polaris:memoryRequestsMissing",
        each_container(ask.has_resources),
        web("resources.limits.memory", GONE),
    ),
    Demand(
        "score:container-ephemeral-storage-request-and-limit",
        each_container(ask.has_storage),
        web("resources.requests.ephemeral-storage", GONE),
    ),
    Demand(
        "score:container-image-tag linter:latest-tag polaris:tagNotSpecified",
        each_container(ask.has_tag),
        web("image", "registry.example.com:5000/fortheweebs"),
    ),
    Demand(
        "score:container-image-pull-policy polaris:pullPolicyNotAlways",
        each_container(lambda one: one.get("imagePullPolicy") == "Always"),
        web("imagePullPolicy", "IfNotPresent"),
    ),
    Demand(
        "score:environment-variable-key-duplication linter:duplicate-env-var",
        each_container(ask.no_name_twice),
        web("env", [{"name": "ROLE", "value": "web"}] * 2),
    ),
    Demand(
        "linter:env-var-secret linter:read-secret-from-env-var"
        " polaris:sensitiveContainerEnvVar",
        each_container(ask.no_secret),
        web("env", [{"name": "SECRET_KEY", "value": "x"}]),
    ),
    Demand(
        "score:container-security-context-user-group-id linter:run-as-non-root"
        " polaris:runAsRootAllowed",
        each_container(ask.no_root),
        web("securityContext.runAsUser", 0),
    ),
    Demand(
        "score:container-security-context-privileged linter:privileged-container"
        " polaris:runAsPrivileged",
        each_container(lambda one: one["securityContext"].get("privileged") is False),
        web("securityContext.privileged", True),
    ),
    Demand(
        "linter:privilege-escalation-container polaris:privilegeEscalationAllowed",
        each_container(
            lambda one: dig(one, "securityContext.allowPrivilegeEscalation") is False
        ),
        web("securityContext.allowPrivilegeEscalation", GONE),
    ),
    Demand(
        "score:container-security-context-readonlyrootfilesystem"
        " linter:no-read-only-root-fs polaris:notReadOnlyRootFilesystem",
        each_container(lambda one: dig(one, "securityContext.readOnlyRootFilesystem")),
        web("securityContext.readOnlyRootFilesystem", False),
    ),
    Demand(
        "score:container-seccomp-profile polaris:linuxHardening",
        each_container(
            lambda one: (
                dig(one, "securityContext.seccompProfile.type") == "RuntimeDefault"
            )
        ),
        web("securityContext.seccompProfile.type", "Unconfined"),
    ),
    Demand(
        "linter:drop-net-raw-capability polaris:dangerousCapabilities"
        " polaris:insecureCapabilities",
        each_container(ask.no_capabilities),
        web("securityContext.capabilities.add", ["NET_ADMIN"]),
    ),
    Demand(
        "linter:unsafe-proc-mount polaris:procMount",
        each_container(lambda one: "procMount" not in one["securityContext"]),
        web("securityContext.procMount", "Unmasked"),
    ),
    Demand(
        "score:container-ports-check linter:privileged-ports linter:ssh-port"
        " polaris:hostPortSet",
        each_container(ask.harmless_ports),
        web("ports.0.containerPort", 80),
    ),
    Demand(
        "linter:liveness-port linter:readiness-port linter:startup-port",
        each_container(ask.probes_meet_ports),
        web("readinessProbe.httpGet.port", "probe"),
    ),
    Demand(
        "score:pod-probes linter:no-liveness-probe linter:no-readiness-probe"
        " polaris:livenessProbeMissing polaris:readinessProbeMissing",
        each_container(
            lambda one: (
                ask.asks(one, "livenessProbe") and ask.asks(one, "readinessProbe")
            ),
            main=True,
        ),
        web("livenessProbe", GONE),
    ),
    Demand(
        "score:pod-probes-identical",
        each_container(
            lambda one: (
                ask.asks(one, "livenessProbe") != ask.asks(one, "readinessProbe")
            ),
            main=True,
        ),
        web(
            "livenessProbe", {"httpGet": {"path": "/api/health/ready", "port": "http"}}
        ),
    ),
    Demand(
        "linter:host-ipc linter:host-network linter:host-pid polaris:hostIPCSet"
        " polaris:hostNetworkSet polaris:hostPIDSet",
        each_pod(ask.no_host),
        pod("hostNetwork", True),
    ),
    Demand(
        "linter:docker-sock linter:sensitive-host-mounts linter:writable-host-mount"
        " polaris:hostPathSet",
        each_pod(ask.no_host_path),
        pod("volumes", [{"name": "tmp", "hostPath": {"path": "/"}}]),
    ),
    Demand(
        "polaris:hostProcess",
        each_pod(lambda t, _: not dig(t, "spec.securityContext.windowsOptions")),
        pod("securityContext.windowsOptions.hostProcess", True),
    ),
    Demand(
        "linter:unsafe-sysctls",
        each_pod(lambda t, _: not dig(t, "spec.securityContext.sysctls")),
        pod("securityContext.sysctls", [{"name": "net.core.somaxconn", "value": "1"}]),
    ),
    Demand(
        "linter:non-existent-service-account linter:default-service-account"
        " linter:deprecated-service-account-field",
        each_pod(ask.own_account),
        pod("serviceAccountName", "default"),
    ),
    Demand(
        "polaris:automountServiceAccountToken",
        each_pod(ask.no_token),
        pod("automountServiceAccountToken", GONE),
    ),
    Demand(
        "score:pod-networkpolicy linter:non-isolated-pod polaris:missingNetworkPolicy",
        each_pod(ask.is_isolated),
        ("NetworkPolicy/fortheweebs", "spec.egress", GONE),
    ),
    Demand(
        "score:networkpolicy-targets-pod linter:dangling-networkpolicy",
        each(
            "NetworkPolicy",
            be=lambda d, f: ask.meets_a_pod(d["spec"]["podSelector"], f),
        ),
        (
            "NetworkPolicy/fortheweebs",
            "spec.podSelector",
            {"matchLabels": {"app": "x"}},
        ),
    ),
    Demand(
        "score:pod-topology-spread-constraints polaris:topologySpreadConstraint",
        each_of_many(ask.is_spread),
        pod("topologySpreadConstraints.0.labelSelector.matchLabels.app", "x"),
    ),
    Demand(
        "score:deployment-has-host-podantiaffinity linter:no-anti-affinity",
        each_of_many(ask.keeps_apart),
        pod("affinity", GONE),
    ),
    Demand(
        "score:deployment-pod-selector-labels-match-template-metadata-labels"
        " linter:mismatching-selector",
        each(
            "Deployment",
            be=lambda d, _: ask.selects(
                d["spec"]["selector"], d["spec"]["template"]["metadata"]["labels"]
            ),
        ),
        ("Deployment/fortheweebs-api", "spec.selector.matchLabels.component", "x"),
    ),
    Demand(
        "score:deployment-strategy linter:no-rolling-update-strategy",
        each_of_many(lambda d, _: dig(d, "spec.strategy.type") == "RollingUpdate"),
        ("Deployment/fortheweebs-api", "spec.strategy.type", "Recreate"),
    ),
    Demand(
        "score:deployment-replicas polaris:deploymentMissingReplicas",
        each_of_many(lambda d, f: ask.replicas(f, d) >= 2),
        ("Deployment/fortheweebs-worker", "spec.replicas", 1),
    ),
    Demand(
        "score:horizontalpodautoscaler-replicas linter:hpa-minimum-three-replicas"
        " polaris:hpaMinAvailability polaris:hpaMaxAvailability",
        each(
            "HorizontalPodAutoscaler",
            be=lambda d, _: 3 <= d["spec"]["minReplicas"] < d["spec"]["maxReplicas"],
        ),
        ("HorizontalPodAutoscaler/fortheweebs-api", "spec.minReplicas", 1),
    ),
    Demand(
        "score:horizontalpodautoscaler-has-target"
        " linter:dangling-horizontalpodautoscaler",
        each("HorizontalPodAutoscaler", be=ask.scales_what_is_there),
        ("HorizontalPodAutoscaler/fortheweebs-api", "spec.scaleTargetRef.name", "x"),
    ),
    Demand(
        "score:deployment-targeted-by-hpa-does-not-have-replicas-configured",
        each(
            "Deployment",
            be=lambda d, f: ("replicas" in d["spec"]) != bool(ask.scaled(f, d)),
        ),
        ("Deployment/fortheweebs-api", "spec.replicas", 3),
    ),
    Demand(
        "score:deployment-has-poddisruptionbudget polaris:missingPodDisruptionBudget",
        each_of_many(ask.has_budget),
        ("PodDisruptionBudget/fortheweebs-api", "spec.selector.matchLabels.app", "x"),
    ),
    Demand(
        "score:poddisruptionbudget-has-policy linter:pdb-max-unavailable"
        " linter:pdb-min-available polaris:pdbDisruptionsIsZero"
        " polaris:pdbMinAvailableGreaterThanHPAMinReplicas",
        each("PodDisruptionBudget", be=ask.lets_one_go),
        ("PodDisruptionBudget/fortheweebs-api", "spec.minAvailable", 3),
    ),
    Demand(
        "linter:pdb-unhealthy-pod-eviction-policy",
        each(
            "PodDisruptionBudget",
            be=lambda d, _: (
                d["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow"
            ),
        ),
        (
            "PodDisruptionBudget/fortheweebs-api",
            "spec.unhealthyPodEvictionPolicy",
            GONE,
        ),
    ),
    Demand(
        "score:service-targets-pod linter:dangling-service",
        each("Service", be=lambda d, f: ask.meets_a_pod(d["spec"]["selector"], f)),
        ("Service/fortheweebs-api", "spec.selector.component", "x"),
    ),
    Demand(
        "linter:invalid-target-ports",
        each("Service", be=ask.reaches_ports),
        ("Service/fortheweebs-api", "spec.ports.0.targetPort", "web"),
    ),
    Demand(
        "score:service-type linter:exposed-services",
        each("Service", be=lambda d, _: "type" not in d["spec"]),
        ("Service/fortheweebs-api", "spec.type", "NodePort"),
    ),
    Demand(
        "linter:dangling-servicemonitor",
        each("ServiceMonitor", be=ask.monitors_something),
        ("ServiceMonitor/fortheweebs", "spec.selector.matchLabels.app", "x"),
    ),
    Demand(
        "polaris:sensitiveConfigmapContent",
        each("ConfigMap", be=ask.holds_paths_alone),
        ("ConfigMap/fortheweebs", "data.SECRET_KEY", "x"),
    ),
    Demand(
        "linter:job-ttl-seconds-after-finished",
        each("Job", be=lambda d, _: d["spec"].get("ttlSecondsAfterFinished")),
        ("Job/fortheweebs-migrate", "spec.ttlSecondsAfterFinished", GONE),
    ),
    Demand(
        "score:stable-version linter:no-extensions-v1beta",
        lambda found: [label(d) for d in found if d["apiVersion"] not in STABLE],
        ("Deployment/fortheweebs-api", "apiVersion", "extensions/v1beta1"),
    ),
    Demand(
        "score:label-values",
        ask.has_plain_labels,
        ("ConfigMap/fortheweebs", "metadata.labels.app", "for the weebs"),
    ),
]
# What asks about kinds that the manifests do not have.
NO_SUCH_KIND = {
    "Ingress": "score:ingress-targets-service linter:dangling-ingress"
    " polaris:tlsSettingsMissing",
    "CronJob": "score:cronjob-has-deadline score:cronjob-restartpolicy",
    "StatefulSet": "score:statefulset-has-poddisruptionbudget"
    " score:statefulset-has-host-podantiaffinity score:statefulset-has-servicename"
    " score:statefulset-pod-selector-labels-match-template-metadata-labels",
    "ClusterRole": "linter:access-to-create-pods linter:access-to-secrets"
    " linter:wildcard-in-rules polaris:clusterrolePodExecAttach",
    "Role": "polaris:rolePodExecAttach",
    "ClusterRoleBinding": "linter:cluster-admin-role-binding"
    " polaris:clusterrolebindingPodExecAttach polaris:clusterrolebindingClusterAdmin",
    "RoleBinding": "polaris:rolebindingClusterRolePodExecAttach"
    " polaris:rolebindingRolePodExecAttach polaris:rolebindingClusterAdminClusterRole"
    " polaris:rolebindingClusterAdminRole",
    "SecurityContextConstraints": "linter:scc-deny-privileged-container",
}
# Of the defaults these are only the two of Polaris.
DECLINED = {
    "Idle pods need a third of what starting and full ones do.": (
        "score:container-resource-requests-equal-limits"
        " score:container-cpu-requests-equal-limits"
        " score:container-memory-requests-equal-limits"
        " score:container-ephemeral-storage-request-equals-limit"
    ),
    "Classes, nodes and name servers are the cluster's; a class that is not there"
    " stops every pod.": (
        "polaris:priorityClassNotSet linter:priority-class-name"
        " linter:no-node-affinity linter:dnsconfig-options"
    ),
    "The label says which installation; the name of a workload is no installation.": (
        "polaris:metadataAndInstanceMismatched"
    ),
    "The namespace, the owner and the address are the caller's.": (
        "linter:use-namespace linter:required-label-owner"
        " linter:required-annotation-email"
    ),
    "The Secret is made by hand, so that no file holds it.": "linter:env-value-from",
    "Peers are namespaces and addresses.": (
        "linter:dangling-networkpolicypeer-podselector"
    ),
    "Two workers are enough: what one leaves is delivered to the other.": (
        "linter:minimum-three-replicas"
    ),
    "A Deployment knows Always alone; the Job's Never keeps each try's log.": (
        "linter:restart-policy"
    ),
    "Ordered for who reads it.": "linter:sorted-keys",
    "test_manifests.py validates strictly, the oldest and the newest version.": (
        "linter:schema-validation"
    ),
}


def first_name(demand: Demand) -> str:
    return demand.names.split()[0]


@pytest.mark.parametrize("demand", DEMANDS, ids=first_name)
def test_the_manifests_meet_a_demand(demand):
    assert demand.offenders(ALL) == []


@pytest.mark.parametrize("demand", DEMANDS, ids=first_name)
def test_what_does_not_meet_it_is_found(demand):
    name, path, value = demand.broken_by
    broken = copy.deepcopy(ALL)
    (document,) = (one for one in broken if label(one) == name)

    put(document, path, value)

    assert demand.offenders(broken) != []


def test_no_kind_is_there_that_is_said_not_to_be():
    assert not of(ALL, *NO_SUCH_KIND)


def test_every_question_of_the_three_has_its_answer_once():
    names = [demand.names for demand in DEMANDS]
    names += [*NO_SUCH_KIND.values(), *DECLINED.values()]
    counted = Counter(name for text in names for name in text.split())

    assert set(counted.values()) == {1}
    by_tool = Counter(name.partition(":")[0] for name in counted)
    assert by_tool == {"score": 39, "linter": 63, "polaris": 44}
