"""The manifests: valid, hardened, and of one mind with settings, image and code."""

import copy
import os
import re
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import kubernetes_validate
import pytest
from django.conf import settings

from fortheweebs.celery import SCHEDULE, app
from fortheweebs.runner import python_parts
from health import healthcheck
from health.answers import ANSWERS
from health.management.commands.watchdog import Command as Watchdog
from health.places import drain_file
from tests.deploy.tools import ROOT, container, documents, one, pod_of, tool

DEPLOYMENT = documents("deployment.yaml")
WORKLOADS = [d for d in DEPLOYMENT if d["kind"] in {"Deployment", "Job"}]
PARTS = {"web": "fortheweebs-api", "worker": "fortheweebs-worker"}
PARTS["beat"] = "fortheweebs-beat"
DOCKERFILE = (ROOT / "Dockerfile").read_text()
EXAMPLE = set(
    re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
)
CONFIG = one("ConfigMap", "fortheweebs")["data"]
OLDEST = "1.29"
NEWEST = kubernetes_validate.latest_version().rpartition(".")[0]


def part(role: str) -> tuple[dict, dict]:
    """Return the pod of a role and its main container."""
    pod = pod_of(one("Deployment", PARTS[role]))
    return pod, container(pod, role)


def containers() -> list[tuple[str, dict]]:
    """Return every container with its pod's name."""
    return [
        (f"{workload['metadata']['name']}/{each['name']}", each)
        for workload in WORKLOADS
        for each in [
            *pod_of(workload).get("initContainers", []),
            *pod_of(workload)["containers"],
        ]
    ]


# -- Valid ---------------------------------------------------------------------------
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize(
    "document", DEPLOYMENT, ids=lambda d: f"{d['kind']}-{d['metadata']['name']}"
)
def test_each_resource_is_valid(document, version):
    used = kubernetes_validate.validate(document, version, strict=True)

    assert used == version


def test_a_misspelt_field_would_be_found():
    wrong = copy.deepcopy(one("Deployment", "fortheweebs-api"))
    container(pod_of(wrong), "web")["readinessprobe"] = {}

    with pytest.raises(kubernetes_validate.ValidationError, match="readinessprobe"):
        kubernetes_validate.validate(wrong, OLDEST, strict=True)


def test_checkov_finds_nothing():
    """It lives in an environment of its own: tests/tools.sh makes it."""
    checkov = tool(
        "checkov", "REQUIRE_ALL=1 tests/tools.sh", str(ROOT / ".venv/checkov/bin")
    )

    done = subprocess.run(
        [
            *(checkov, "-f", "k8s/deployment.yaml", "--framework", "kubernetes"),
            # The namespace is the caller's, as in the documented commands.
            *("--skip-check", "CKV_K8S_21", "--compact", "--quiet"),
        ],
        cwd=ROOT,
        env={**os.environ, "LOG_LEVEL": "ERROR"},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout


# -- Hardened ------------------------------------------------------------------------
@pytest.mark.parametrize(("name", "spec"), containers())
def test_each_container_can_do_little(name, spec):
    security = spec["securityContext"]

    assert security["runAsNonRoot"]
    assert security["readOnlyRootFilesystem"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert set(spec["resources"]["requests"]) == set(spec["resources"]["limits"])
    assert {"cpu", "memory"} <= set(spec["resources"]["limits"])


@pytest.mark.parametrize(("name", "spec"), containers())
def test_each_container_has_the_image_by_digest_and_its_user(name, spec):
    uid = re.search(r"^USER (\d+):\d+$", DOCKERFILE, re.MULTILINE)

    assert re.fullmatch(r".*:[^:@]+@sha256:[0-9a-f]{64}", spec["image"])
    assert spec["securityContext"]["runAsUser"] == int(uid[1])


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda d: d["metadata"]["name"])
def test_no_pod_has_a_token_of_the_cluster(workload):
    pod = pod_of(workload)

    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)


def test_no_secret_stands_in_a_manifest_or_in_an_environment():
    secret = {"SECRET_KEY", "DATABASE_URL", "REDIS_URL"}

    assert "Secret" not in {document["kind"] for document in DEPLOYMENT}
    assert {f"{name}_FILE" for name in secret} <= set(CONFIG)
    for name, spec in containers():
        plain = {variable["name"] for variable in spec.get("env", [])}
        assert not secret & (plain | set(CONFIG)), name


# -- Of one mind ---------------------------------------------------------------------
def test_every_environment_name_is_one_of_the_settings():
    used = set(CONFIG)
    for _, spec in containers():
        used |= {variable["name"] for variable in spec.get("env", [])}

    assert {name.removesuffix("_FILE") for name in used} <= EXAMPLE


@cache
def check_deployment(role: str) -> subprocess.CompletedProcess[str]:
    """Run Django's checks with the ConfigMap, the secrets in a folder of the test."""
    secrets = {
        "SECRET_KEY": "only-for-tests-" + "x" * 50 + "ABC-9",
        "DATABASE_URL": "postgresql://web@127.0.0.1:1/none",
        "REDIS_URL": "redis://127.0.0.1:1/0",
    }
    mount = str(Path(CONFIG["SECRET_KEY_FILE"]).parent)
    with tempfile.TemporaryDirectory(prefix="ftw-secrets-", dir="/tmp") as folder:
        for name, value in secrets.items():
            (Path(folder) / name).write_text(value + "\n")
        environ = {key: text.replace(mount, folder) for key, text in CONFIG.items()}
        own = {"PATH": os.environ["PATH"], "ROLE": role, "DATA_DIR": f"{folder}/data"}
        return subprocess.run(
            [
                *(sys.executable, "-W", "ignore", "manage.py", "check", "--deploy"),
                *("--fail-level", "WARNING"),
            ],
            cwd=ROOT,
            env={**environ, **own},
            capture_output=True,
            text=True,
        )


# Beat and watchdog are set up as a worker is.
@pytest.mark.parametrize("role", ["web", "worker", "command"])
def test_the_settings_accept_the_config_map(role):
    done = check_deployment(role)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("name", "spec"), containers())
def test_secrets_are_read_where_they_are_mounted(name, spec):
    mounts = {mount["name"]: mount for mount in spec["volumeMounts"]}

    folders = {str(Path(v).parent) for k, v in CONFIG.items() if k.endswith("_FILE")}
    assert folders == {mounts["secrets"]["mountPath"]}
    assert mounts["secrets"]["readOnly"]
    assert mounts["data"]["mountPath"] == data_dir()
    assert mounts["tmp"]["mountPath"] == "/tmp"


def data_dir() -> str:
    """Return the image's DATA_DIR."""
    return re.search(r"DATA_DIR=(/\S+)", DOCKERFILE)[1]


def test_ports_are_those_of_settings_and_image():
    exposed = re.search(r"^EXPOSE (\d+) (\d+)$", DOCKERFILE, re.MULTILINE)
    main, probe = exposed.groups()
    _, web = part("web")

    assert (CONFIG["PORT"], CONFIG["PROBE_PORT"]) == (main, probe)
    assert web["ports"] == [{"name": "http", "containerPort": int(main)}]
    for role in PARTS:
        sidecar = container(part(role)[0], "watchdog")
        assert sidecar["ports"] == [{"name": "probe", "containerPort": int(probe)}]
    ports = one("Service", "fortheweebs-api")["spec"]["ports"]
    assert [port["targetPort"] for port in ports] == ["http"]
    ports = one("Service", "fortheweebs-metrics")["spec"]["ports"]
    assert ports == [{"name": "probe", "port": int(probe), "targetPort": "probe"}]


def test_the_network_policy_lets_in_the_two_ports_alone():
    policy = one("NetworkPolicy", "fortheweebs")["spec"]

    into = [port["port"] for rule in policy["ingress"] for port in rule["ports"]]
    assert into == [int(CONFIG["PORT"]), int(CONFIG["PROBE_PORT"])]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    everywhere = [to["ipBlock"] for to in policy["egress"][1]["to"]]
    assert {block["cidr"]: block["except"] for block in everywhere} == {
        "0.0.0.0/0": ["169.254.0.0/16"],
        "::/0": ["fe80::/10", "fd00:ec2::/32", "fd20:ce::/32"],
    }


def test_every_pod_may_ask_what_the_settings_name():
    """Providers and whoever waits for DEADMAN_URL are on the ports of https or http."""
    policy = one("NetworkPolicy", "fortheweebs")["spec"]
    (selector,) = policy["podSelector"]["matchExpressions"]

    out = {port["port"] for port in policy["egress"][1]["ports"]}
    assert out == {5432, 6379, 443, 80, int(CONFIG["PORT"])}
    for workload in WORKLOADS:
        labels = workload["spec"]["template"]["metadata"]["labels"]
        assert labels[selector["key"]] in selector["values"]


@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe"])
def test_http_probes_ask_what_the_edge_answers(probe):
    _, web = part("web")

    asked = web[probe]["httpGet"]
    assert asked["path"] in ANSWERS
    assert asked["port"] == "http"


def test_timings_of_the_web_probes():
    _, web = part("web")

    times = ("periodSeconds", "timeoutSeconds", "failureThreshold")
    startup, ready, live = (
        tuple(web[name][each] for each in times)
        for name in ("startupProbe", "readinessProbe", "livenessProbe")
    )
    assert startup == (10, 2, 30)
    assert ready[:2] == (5, 2)
    assert live == (10, 3, 3)
    assert web["livenessProbe"]["terminationGracePeriodSeconds"] == 20


@pytest.mark.parametrize("role", PARTS)
def test_liveness_reads_the_slots_of_its_own_role(role, monkeypatch):
    _, main = part(role)

    command = main["livenessProbe"]["exec"]["command"]
    assert command[:4] == ["python", "-I", "-S", "health/healthcheck.py"]
    assert (ROOT / command[3]).exists()
    monkeypatch.setenv("DATA_DIR", data_dir())
    asked, folder, stale = healthcheck.parse_arguments(command[4:])
    assert (asked, folder) == (role, f"{data_dir()}/run")
    assert stale == {"web": 8, "worker": 30, "beat": 30}[role]


@pytest.mark.parametrize("role", PARTS)
def test_each_pod_has_a_watchdog_that_may_signal(role):
    pod, main = part(role)
    sidecar = container(pod, "watchdog")

    assert sidecar["restartPolicy"] == "Always"
    assert sidecar["command"][:3] == ["python", "manage.py", "watchdog"]
    options = Watchdog().create_parser("manage.py", "watchdog")
    asked = options.parse_args(sidecar["command"][3:])
    assert (asked.mode, asked.role) == ("enforce", role)
    assert pod["shareProcessNamespace"]
    assert sidecar["volumeMounts"] == main["volumeMounts"]
    assert sidecar["securityContext"] == main["securityContext"]


def test_the_sidecar_finds_the_control_socket_of_the_web_server():
    """Its path is of the user and of DATA_DIR, in a folder that both mount."""
    pod, web = part("web")
    both = [web, container(pod, "watchdog")]

    volumes = {each["name"]: each for each in pod["volumes"]}
    (mount,) = {
        mount["name"]
        for spec in both
        for mount in spec["volumeMounts"]
        if mount["mountPath"] == str(settings.SOCKET_DIR.parent)
    }
    assert volumes[mount]["emptyDir"]["medium"] == "Memory"
    assert len({spec["securityContext"]["runAsUser"] for spec in both}) == 1
    environments = [{each["name"] for each in spec["env"]} for spec in both]
    assert "DATA_DIR" not in set(CONFIG).union(*environments)


@pytest.mark.parametrize(("name", "spec"), containers())
def test_each_container_says_its_role_and_its_node(name, spec):
    env = {variable["name"]: variable for variable in spec["env"]}

    role = {"migrate": "command"}.get(spec["name"], spec["name"])
    assert env["ROLE"]["value"] == role
    if role != "command":
        assert env["NODE_NAME"]["valueFrom"] == {
            "fieldRef": {"fieldPath": "metadata.name"}
        }


def test_worker_and_beat_run_as_under_make_run():
    local = {made.name: made.command for made in python_parts()}

    for role in ("worker", "beat"):
        command = part(role)[1]["command"]
        assert command == local[role][local[role].index("celery") :]
    assert "command" not in part("web")[1]
    assert 'CMD ["gunicorn", "-c", "gunicorn.conf.py"' in DOCKERFILE


def test_a_web_pod_drains_before_it_stops():
    pod, web = part("web")

    script = web["lifecycle"]["preStop"]["exec"]["command"][-1]
    drain, sleep = re.fullmatch(r"touch (\S+) && sleep (\d+)", script).groups()
    run = drain_file().relative_to(settings.DATA_DIR)
    assert drain == f"{data_dir()}/{run}"
    spare = (
        pod["terminationGracePeriodSeconds"]
        - int(sleep)
        - int(CONFIG["GRACEFUL_TIMEOUT"])
    )
    assert spare >= 5


def test_a_worker_has_time_for_its_longest_task():
    pod, _ = part("worker")

    assert pod["terminationGracePeriodSeconds"] > app.conf.task_time_limit


def test_liveness_speaks_before_the_kernel_kills():
    _, web = part("web")
    limit = {"1Gi": 1 << 30}[web["resources"]["limits"]["memory"]]

    workers = int(CONFIG["WEB_WORKERS"]) * int(CONFIG["LIVE_MAX_RSS"])
    assert workers + (100 << 20) < 0.85 * limit


def test_a_rollout_takes_no_pod_away_before_the_next_is_ready():
    spec = one("Deployment", "fortheweebs-api")["spec"]

    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert spec["minReadySeconds"] == 10
    assert "replicas" not in spec
    scaler = one("HorizontalPodAutoscaler", "fortheweebs-api")["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (3, 10)
    measured = [metric["containerResource"] for metric in scaler["metrics"]]
    assert [(each["name"], each["container"]) for each in measured] == [
        ("cpu", "web"),
        ("memory", "web"),
    ]
    budget = one("PodDisruptionBudget", "fortheweebs-api")["spec"]
    assert budget["minAvailable"] == 2 < scaler["minReplicas"]
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_there_is_never_a_second_beat():
    spec = one("Deployment", "fortheweebs-beat")["spec"]

    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "Recreate"}


def test_a_daily_task_is_not_put_off_by_a_new_beat():
    """Its schedule's file goes with its pod."""
    late = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
    begun = [late - timedelta(hours=hours) for hours in (1, 5, 20)]

    for name in ("verify-ledger", "prune-reports"):
        schedule = copy.copy(SCHEDULE[name]["schedule"])
        schedule.nowfun = lambda: late
        left = {schedule.remaining_estimate(start) for start in begun}

        assert len(left) == 1, name
        assert left.pop() < timedelta(hours=1), name


def test_selectors_meet_their_pods_and_no_others():
    labels = {
        name: workload["spec"]["template"]["metadata"]["labels"]
        for workload in WORKLOADS
        if (name := workload["metadata"]["name"])
    }

    def met(selector: dict) -> set[str]:
        return {name for name, own in labels.items() if selector.items() <= own.items()}

    for name in PARTS.values():
        selector = one("Deployment", name)["spec"]["selector"]["matchLabels"]
        assert met(selector) == {name}
    assert met(one("Service", "fortheweebs-api")["spec"]["selector"]) == {
        "fortheweebs-api"
    }
    # The documented commands say app=fortheweebs.
    assert met(one("Service", "fortheweebs-metrics")["spec"]["selector"]) == set(
        PARTS.values()
    )
    budget = one("PodDisruptionBudget", "fortheweebs-api")["spec"]["selector"]
    assert met(budget["matchLabels"]) == {"fortheweebs-api"}


def test_the_connections_of_a_full_house_are_asked_of_postgresql():
    text = (ROOT / "k8s" / "deployment.yaml").read_text().replace("\n# ", " ")
    said = check_deployment("command").stderr

    a_pod = int(re.search(r"holds up to (\d+) database connections", said)[1])
    pods = one("HorizontalPodAutoscaler", "fortheweebs-api")["spec"]["maxReplicas"] + 1
    assert f"watchdog 5 = {a_pod};" in text
    assert f"rollout are {a_pod * pods}," in text
