"""The Helm chart: rendered by Helm itself, valid for Kubernetes, refused where values contradict each other."""

import copy
import functools
import operator

import jsonschema
import pytest
import yaml

from tests.docker.shipped import DOCKER, documents
from tests.forked import pgdoctor
from tests.packages.tools import KUBERNETES_VERSIONS, find_module, find_program, read_documents, succeed, validate

CHART = DOCKER / "helm" / "pgdoctor"
LEAST = {"server": {"host": "db.internal", "passwordSecret": {"name": "role"}}}
EVERYTHING = {
    "server": {
        **LEAST["server"],
        "sslmode": "verify-full",
        "sslRootCertificate": {"secret": "authority", "key": "ca.crt"},
    },
    "http": {"tokenSecret": {"name": "token", "key": "token"}, "tlsSecret": {"name": "tls"}},
    "image": {"repository": "registry.internal/pgdoctor", "digest": "sha256:" + "0" * 64, "pullSecrets": ["pull"]},
    "enforce": True,
    "journal": {"persistence": {"storageClass": "fast", "size": "2Gi"}},
    "service": {"annotations": {"a": "b"}},
    "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "prometheusRule": {"enabled": True, "fast": True, "labels": {"release": "prometheus"}},
    "priorityClassName": "system-cluster-critical",
    "podAnnotations": {"c": "d"},
    "podLabels": {"team": "dba"},
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "db", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "extraEnv": [{"name": "TZ", "value": "UTC"}],
}
CHOICES = {
    "least": LEAST,
    "everything": EVERYTHING,
    "password": {"server": {"host": "db", "password": 'p"a: {{ss}}'}},
    "no volume": {**LEAST, "journal": {"persistence": {"enabled": False}}},
    "own claim": {**LEAST, "journal": {"persistence": {"existingClaim": "mine"}}},
    "no policy": {**LEAST, "networkPolicy": {"enabled": False}},
    "no peers": {**LEAST, "networkPolicy": {"from": []}},
}


@pytest.fixture(scope="session")
def helm():
    return find_module("helm_python", "helm-python-sdk")


@pytest.fixture(scope="session")
def render(helm):
    """A function: values to documents, by kind and name."""

    def rendered(values, name="demo"):
        with helm.Chart.load(str(CHART)) as chart:
            texts = chart.render(copy.deepcopy(values), name=name, namespace="databases")
        manifests = [text for path, text in texts.items() if path.endswith(".yaml")]
        found = [each for text in manifests for each in read_documents(text)]
        return {each["kind"]: each for each in found}

    return rendered


def pod_of(manifests):
    return manifests["StatefulSet"]["spec"]["template"]["spec"]


@pytest.mark.parametrize("values", CHOICES.values(), ids=CHOICES)
@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_kubernetes_schema_accepts_each_choice(render, values, version):
    manifests = render(values)
    assert {"StatefulSet", "ConfigMap", "Service", "ServiceAccount"} <= set(manifests)
    for each in manifests.values():
        validate(each, version)


MISSPELT = {
    "annotation": ("PrometheusRule", ("groups", 0, "rules", 0), {}),
    "for": ("PrometheusRule", ("groups", 0, "rules", 0), "5 minutes"),
    "interval": ("PrometheusRule", ("groups", 0), 30),
    "scheme": ("PodMonitor", ("podMetricsEndpoints", 0), "ftp"),
    "credential": ("PodMonitor", ("podMetricsEndpoints", 0, "authorization"), {}),
    "selector": ("PodMonitor", (), None),
}


@pytest.mark.parametrize(("field", "wrong"), MISSPELT.items(), ids=MISSPELT)
def test_schema_of_the_prometheus_operator_refuses_wrong_fields(render, field, wrong):
    kind, path, value = wrong
    document = render(EVERYTHING)[kind]
    functools.reduce(operator.getitem, path, document["spec"])[field] = value
    with pytest.raises(jsonschema.ValidationError):
        validate(document, KUBERNETES_VERSIONS[0])


def test_helm_lint_finds_no_error(helm):
    found = helm.lint(str(CHART), LEAST)
    assert not found["errors"]
    assert [each["error"] for each in found["messages"]] == ["icon is recommended"]


@pytest.mark.parametrize("values", CHOICES.values(), ids=CHOICES)
def test_configuration_is_accepted_by_pgdoctor(render, values, tmp_path):
    text = render(values)["ConfigMap"]["data"]["pgdoctor.toml"]
    for secret in ("token/token", "tls/tls.crt", "tls/tls.key"):
        file = tmp_path / secret
        file.parent.mkdir(exist_ok=True)
        file.write_text("0123456789abcdef0123456789abcdef\n")
        text = text.replace(f"/run/secrets/{secret}", str(file))
    file = tmp_path / "pgdoctor.toml"
    file.write_text(text)
    checked = pgdoctor("config", "check", file)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("values", CHOICES.values(), ids=CHOICES)
def test_each_mount_has_its_volume(render, values):
    manifests = render(values)
    (container,) = pod_of(manifests)["containers"]
    claims = manifests["StatefulSet"]["spec"].get("volumeClaimTemplates", [])
    volumes = {each["name"] for each in pod_of(manifests)["volumes"]} | {each["metadata"]["name"] for each in claims}
    assert {each["name"] for each in container["volumeMounts"]} == volumes


def test_selectors_find_the_pod(render):
    manifests = render(EVERYTHING)
    labels = manifests["StatefulSet"]["spec"]["template"]["metadata"]["labels"].items()
    selectors = [
        manifests["Service"]["spec"]["selector"],
        *(manifests[kind]["spec"]["selector"]["matchLabels"] for kind in ("StatefulSet", "PodMonitor")),
        manifests["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ]
    assert all(selector.items() <= labels for selector in selectors)


def test_password_is_kept_in_a_secret_alone(render):
    manifests = render(CHOICES["password"])
    assert manifests["Secret"]["stringData"] == {"password": 'p"a: {{ss}}'}
    assert "{{ss}}" not in yaml.dump([each for kind, each in manifests.items() if kind != "Secret"])
    assert "Secret" not in render(LEAST)


def test_alerts_are_those_of_prometheus(render, tmp_path):
    rule = render(EVERYTHING)["PrometheusRule"]
    shipped = [group for name in ("alerts.yml", "alerts_fast.yml") for group in documents(name)[0]["groups"]]
    assert rule["spec"]["groups"] == shipped
    file = tmp_path / "rules.yml"
    file.write_text(yaml.dump(rule["spec"]))
    succeed(find_program("promtool", "prometheus"), "check", "rules", file)


@pytest.mark.parametrize("name", ["alerts.yml", "alerts_fast.yml"])
def test_chart_has_a_copy_of_the_alerts(name):
    assert (CHART / "files" / name).read_text() == (DOCKER / name).read_text(), "run make docs"


def test_pod_is_that_of_the_sidecar_manifest(render):
    stateful = next(each for each in documents("kubernetes.yml") if each["kind"] == "StatefulSet")
    (sidecar,) = (each for each in stateful["spec"]["template"]["spec"]["containers"] if each["name"] == "pgdoctor")
    (container,) = pod_of(render(LEAST))["containers"]
    assert container["resources"] == sidecar["resources"]
    assert container["image"] == sidecar["image"]
    security = {**container["securityContext"], "runAsUser": 10001, "runAsGroup": 10001}
    assert security == sidecar["securityContext"]


def test_tls_reaches_probes_and_prometheus(render):
    manifests = render(EVERYTHING)
    (container,) = pod_of(manifests)["containers"]
    assert container["livenessProbe"]["httpGet"]["scheme"] == "HTTPS"
    (endpoint,) = manifests["PodMonitor"]["spec"]["podMetricsEndpoints"]
    assert endpoint["scheme"] == "https"
    assert endpoint["authorization"]["credentials"] == {"name": "token", "key": "token"}


def test_only_the_flag_enforces(render):
    assert "args" not in pod_of(render(LEAST))["containers"][0]
    assert pod_of(render(EVERYTHING))["containers"][0]["args"] == ["agent", "--enforce"]


REFUSED = {
    "server.host is missing": {},
    "server.passwordSecret.name is missing": {"server": {"host": "db"}},
    "both set": {"server": {**LEAST["server"], "password": "x"}},
    "more than one line": {"server": {"host": "db", "password": "x\ny"}},
    "needs server.sslRootCertificate.secret": {"server": {**LEAST["server"], "sslmode": "verify-ca"}},
    "enforce needs journal.persistence": {**LEAST, "enforce": True, "journal": {"persistence": {"enabled": False}}},
    "but enforce is false": {**LEAST, "config": '[mitigation]\nmode = "enforce"\n'},
    'add token_file = "/run/secrets/token/token" there': {
        **LEAST,
        "config": "[http]\n",
        "http": {"tokenSecret": {"name": "token"}},
    },
    "'hots' not allowed": {"server": {**LEAST["server"], "hots": "db"}},
    "at '/server/port'": {"server": {**LEAST["server"], "port": "5432"}},
    "at '/server/sslmode'": {"server": {**LEAST["server"], "sslmode": "on"}},
    "server.host is no address": {"server": {**LEAST["server"], "host": "db:5432"}},
    "it has no port, blank or URL": {"server": {**LEAST["server"], "host": "postgresql://db/shop"}},
    "missing property 'config'": {**LEAST, "config": None},
    "missing property 'tlsSecret'": {**LEAST, "http": {"tlsSecret": None}},
    "at '/server/passwordSecret/name'": {"server": {"host": "db", "passwordSecret": {"name": "Role_A"}}},
    "at '/image/tag'": {**LEAST, "image": {"tag": "a b"}},
    "at '/resources/limits/memory'": {**LEAST, "resources": {"limits": {"memory": "256 MB"}}},
    "'limit' not allowed": {**LEAST, "resources": {"limit": {"memory": "1Gi"}}},
    "'podSelectr' not allowed": {**LEAST, "networkPolicy": {"from": [{"podSelectr": {}}]}},
    "'vaule' not allowed": {**LEAST, "extraEnv": [{"name": "A", "vaule": "x"}]},
    "extraEnv sets PGHOST": {**LEAST, "extraEnv": [{"name": "PGHOST", "value": "x"}]},
    "podLabels sets app.kubernetes.io/name": {**LEAST, "podLabels": {"app.kubernetes.io/name": "x"}},
    "'kee' not allowed": {**LEAST, "tolerations": [{"kee": "x"}]},
    "'nodeAffinty' not allowed": {**LEAST, "affinity": {"nodeAffinty": {}}},
    "at '/journal/persistence/size'": {**LEAST, "journal": {"persistence": {"size": "0"}}},
    "existingClaim is set": {**LEAST, "journal": {"persistence": {"enabled": False, "existingClaim": "mine"}}},
    "at '/config'": {**LEAST, "config": {"mitigation": {"mode": "off"}}},
}


@pytest.mark.parametrize(("said", "values"), REFUSED.items(), ids=REFUSED)
def test_wrong_values_are_refused_in_one_line(render, helm, said, values):
    with pytest.raises(helm.HelmError) as refused:
        render(values)
    (line,) = (line for line in str(refused.value).splitlines() if said in line)
    assert len(line) < 240


@pytest.mark.parametrize("name", ["pgdoctor", "shop-pgdoctor", "a" * 53])
def test_names_fit_into_a_label_and_say_pgdoctor_once(render, name):
    full = render(LEAST, name)["StatefulSet"]["metadata"]["name"]
    assert len(full) <= 52
    assert full.count("pgdoctor") == 1


def test_version_is_that_of_the_package():
    said = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert said["version"] == said["appVersion"]
    assert pgdoctor("--version").stdout.split()[-1] == said["appVersion"]
