"""The kustomize base and its example: built by kubectl, validated by Kubernetes' own schemas."""

import pytest

from tests.docker.shipped import DOCKER
from tests.packages.test_chart import LEAST, helm, pod_of, render  # noqa: F401
from tests.packages.tools import KUBERNETES_VERSIONS, copy_tree, find_program, read_documents, succeed, validate


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The example, by kind; ConfigMaps by their name without the hash."""
    folder = copy_tree(DOCKER / "kustomize", tmp_path_factory.mktemp("built") / "kustomize")
    (folder / "example" / "password.txt").write_text("secret")
    overlay = folder / "example" / "kustomization.yaml"
    # Debian's kubectl is older than `resources` with folders.
    overlay.write_text(overlay.read_text().replace("resources: [../base]", "bases: [../base]"))
    kubectl = find_program("kubectl", "kubernetes-client")
    return read_documents(succeed(kubectl, "kustomize", folder / "example"))


def of_kind(built, kind):
    return [each for each in built if each["kind"] == kind]


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_kubernetes_schema_accepts_the_example(built, version):
    assert len(built) == 7
    for each in built:
        validate(each, version)


def test_agent_is_that_of_the_chart(built, render):  # noqa: F811
    (stateful,) = of_kind(built, "StatefulSet")
    own, charts = stateful["spec"]["template"]["spec"], pod_of(render(LEAST))
    for key in ("securityContext", "automountServiceAccountToken"):
        assert own[key] == charts[key]
    compared = ("image", "imagePullPolicy", "ports", "livenessProbe", "readinessProbe", "resources", "securityContext")
    for key in (*compared, "volumeMounts"):
        assert own["containers"][0][key] == charts["containers"][0][key], key


def test_names_of_generated_maps_are_those_in_the_pod(built):
    (stateful,) = of_kind(built, "StatefulSet")
    pod = stateful["spec"]["template"]["spec"]
    maps = {each["metadata"]["name"] for each in of_kind(built, "ConfigMap")}
    (container,) = pod["containers"]
    assert {pod["volumes"][0]["configMap"]["name"], container["envFrom"][0]["configMapRef"]["name"]} == maps
    secret = container["env"][0]["valueFrom"]["secretKeyRef"]["name"]
    assert [secret] == [each["metadata"]["name"] for each in of_kind(built, "Secret")]


def test_overlay_names_the_server(built):
    servers = [each["data"]["PGHOST"] for each in of_kind(built, "ConfigMap") if "PGHOST" in each["data"]]
    assert servers == ["db"]


def test_policy_covers_the_agent_alone(built):
    (policy,) = of_kind(built, "NetworkPolicy")
    assert policy["spec"]["podSelector"] == {"matchLabels": {"app.kubernetes.io/name": "pgdoctor"}}
    assert policy["spec"]["ingress"][0]["from"] == [{"podSelector": {}}]
