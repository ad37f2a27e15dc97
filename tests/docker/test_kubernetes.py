"""The sidecar: its configuration and its way to the server are tried out, its parts held against each other."""

import configparser
from io import StringIO

import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.cli.test_bad_input import complains
from tests.docker.shipped import container, documents, instructions
from tests.forked import pgdoctor

ALL = documents("kubernetes.yml")
KINDS = {(each["kind"], each["metadata"]["name"]): each for each in ALL}
TEMPLATE = KINDS["StatefulSet", "postgres"]["spec"]["template"]
POD = TEMPLATE["spec"]
SIDECAR = container(POD, "pgdoctor")
CONFIGURATION = KINDS["ConfigMap", "pgdoctor"]["data"]["pgdoctor.toml"]
SERVICE_FILE = KINDS["Secret", "pgdoctor"]["stringData"]["pg_service.conf"]
ENVIRONMENT = {each["name"]: each.get("value") for each in SIDECAR["env"]}


def mounts():
    return {each["mountPath"]: each["name"] for each in SIDECAR["volumeMounts"]}


def port(name):
    return next(each["containerPort"] for each in SIDECAR["ports"] if each["name"] == name)


@pytest.mark.parametrize("document", ALL, ids=lambda each: f"{each['kind']} {each['metadata']['name']}")
def test_kubernetes_own_schema_finds_no_fault(document):
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="no kubernetes-validate on this machine")
    kubernetes_validate.validate(document, "1.29", strict=True)


def test_the_configuration_is_right_and_acts_on_no_session(tmp_path):
    file = tmp_path / "pgdoctor.toml"
    file.write_text(CONFIGURATION)
    checked = pgdoctor("config", "check", file)
    assert checked.returncode == 0, checked.stderr
    assert 'mode = "off"' in CONFIGURATION


def test_each_file_is_where_the_agent_looks_for_it():
    folders = {name: path for path, name in mounts().items()}
    assert ENVIRONMENT["PGDOCTOR_CONFIG"] == f"{folders['pgdoctor-config']}/pgdoctor.toml"
    assert ENVIRONMENT["PGSERVICEFILE"] == f"{folders['pgdoctor-secret']}/pg_service.conf"
    assert list(instructions("VOLUME")) == [folders["pgdoctor-journal"]]
    sources = {each["name"]: each for each in POD["volumes"]}
    assert set(folders.values()) == set(mounts())
    assert sources["pgdoctor-config"]["configMap"]["name"] == "pgdoctor"
    assert sources["pgdoctor-secret"]["secret"] == {"secretName": "pgdoctor", "defaultMode": 0o440}
    assert not any("subPath" in each for each in SIDECAR["volumeMounts"]), "such a file never changes"


def test_the_agent_takes_its_configuration_from_the_environment(tmp_path):
    file = tmp_path / "pgdoctor.toml"
    file.write_text(CONFIGURATION.replace('"off"', '"on"'))
    complains(pgdoctor("agent", PGDOCTOR_CONFIG=str(file)), 2, "mitigation.mode")


def test_the_service_file_leads_an_agent_to_the_server(agent, scene, tmp_path, monkeypatch):
    parser = configparser.ConfigParser()
    parser.read_string(SERVICE_FILE)
    section = parser[ENVIRONMENT["PGSERVICE"]]
    assert {"host", "user", "password", "dbname"} == set(section)
    assert section["host"] == "127.0.0.1", "the server is in the same pod"
    section.update({key: str(value) for key, value in conninfo_to_dict(scene.dsn).items() if key in ("port", *section)})
    if "password" not in conninfo_to_dict(scene.dsn):
        del section["password"]
    written = StringIO()
    parser.write(written, space_around_delimiters=False)
    file = tmp_path / "pg_service.conf"
    file.write_text(written.getvalue())
    # As Kubernetes lays it: a group may read it, which libpq forbids of a password file.
    file.chmod(0o440)
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    monkeypatch.setenv("PGSERVICE", ENVIRONMENT["PGSERVICE"])
    agent(None).wait_for("up", 1.0)
    assert pgdoctor("diagnose", PGSERVICEFILE=str(file), PGSERVICE=ENVIRONMENT["PGSERVICE"]).returncode == 0


def test_all_ports_are_one():
    listening = port("pgdoctor")
    assert list(instructions("EXPOSE")) == [str(listening)]
    (environment,) = (line for line in instructions("ENV") if "PGDOCTOR_LISTEN" in line)
    assert f"PGDOCTOR_LISTEN=0.0.0.0:{listening}" in environment
    assert TEMPLATE["metadata"]["annotations"]["prometheus.io/port"] == str(listening)
    ports = {each["name"] for one in POD["containers"] for each in one["ports"]}
    assert {each["targetPort"] for each in KINDS["Service", "postgres"]["spec"]["ports"]} == ports


def test_health_and_metrics_answer_while_the_database_is_down(agent):
    running = agent("postgresql://app@127.0.0.1:1/shop")
    probe = SIDECAR["livenessProbe"]["httpGet"]
    assert probe["port"] == "pgdoctor"
    for path in (probe["path"], TEMPLATE["metadata"]["annotations"]["prometheus.io/path"]):
        assert running.get(path).status_code == 200


def test_a_sidecar_that_is_not_ready_does_not_take_the_server_out_of_its_service():
    assert "readinessProbe" not in SIDECAR


def test_it_may_do_next_to_nothing():
    security = SIDECAR["securityContext"]
    assert security["readOnlyRootFilesystem"]
    assert not security["allowPrivilegeEscalation"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert list(instructions("USER")) == [f"{security['runAsUser']}:{security['runAsGroup']}"]
    assert POD["securityContext"]["runAsNonRoot"]
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not POD["automountServiceAccountToken"]


def test_its_selectors_find_it():
    assert KINDS["Service", "postgres"]["spec"]["selector"] == TEMPLATE["metadata"]["labels"]
    assert KINDS["StatefulSet", "postgres"]["spec"]["selector"]["matchLabels"] == TEMPLATE["metadata"]["labels"]
