"""Examples for operators: valid for their own schemas, and the chart's values lead to what each operator makes."""

import copy
import re
import tomllib

import jsonschema
import psycopg
import pytest
import yaml
from click.testing import CliRunner
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgdoctor.cli import cli
from tests.agent.conftest import agent
from tests.docker.shipped import DOCKER
from tests.forked import pgdoctor
from tests.looking import look
from tests.packages.test_chart import helm, pod_of, render
from tests.packages.tools import KUBERNETES_VERSIONS, read_documents, validate
from tests.scenes import Scene
from tests.scenes.client import wait_until
from tests.standby import promote, standby_of

__all__ = ["agent", "helm", "render"]

FOLDER = DOCKER / "operators"
OPERATORS = sorted(path.parent.name for path in FOLDER.glob("*/cluster.yml"))
#: What each operator calls the primary's service, and the Secrets that it makes, by the names of cluster and role.
MADE = {
    "cloudnativepg": ("{cluster}-rw", {"{cluster}-ca"}),
    "crunchy": ("{cluster}-primary", {"{cluster}-cluster-cert", "{cluster}-pguser-pgdoctor"}),
    "percona": ("{cluster}-primary", {"{cluster}-cluster-cert", "{cluster}-pguser-pgdoctor"}),
    "zalando": ("{cluster}", {"pgdoctor.{cluster}.credentials.postgresql.acid.zalan.do"}),
}


def manifests_of(operator):
    """The documents of an example; the first value is the cluster."""
    found = read_documents((FOLDER / operator / "cluster.yml").read_text())
    (cluster,) = (each for each in found if each["kind"] not in ("Secret", "ConfigMap"))
    return cluster, [each for each in found if each is not cluster]


def values_of(operator):
    return yaml.safe_load((FOLDER / operator / "values.yml").read_text())


def objects_in(value):
    """Every object in a document, at any depth."""
    if isinstance(value, dict):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects_in(each)


def statements_of(operator):
    """The SQL by which an operator makes the role, as its example declares it."""
    cluster, others = manifests_of(operator)
    spec = cluster["spec"]
    yield "create role pgdoctor login"
    match operator:
        case "cloudnativepg":
            (role,) = spec["managed"]["roles"]
            yield from (f"grant {group} to {role['name']}" for group in role["inRoles"])
            yield f"alter role {role['name']} connection limit {role['connectionLimit']}"
        case "zalando":
            (secret,) = others
            yield f"grant {secret['stringData']['inrole1']} to {secret['stringData']['user1']}"
        case "crunchy" | "percona":
            (user,) = spec["users"]
            yield f"alter role {user['name']} with {user['options']}"
            (script,) = others
            assert script["metadata"]["name"] == spec["databaseInitSQL"]["name"]
            yield script["data"][spec["databaseInitSQL"]["key"]]


def test_each_operator_is_tested():
    assert set(OPERATORS) == set(MADE)
    assert {path.name for path in FOLDER.iterdir()} == {*MADE, "patroni"}


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_schema_accepts_each_document(operator, version):
    cluster, others = manifests_of(operator)
    for each in (cluster, *others):
        validate(each, version)


@pytest.mark.parametrize("operator", OPERATORS)
def test_schema_refuses_a_misspelt_field_at_any_depth(operator):
    cluster, _ = manifests_of(operator)
    depths = len([each for each in objects_in(cluster["spec"]) if each])
    refused = 0
    for place in range(depths):
        changed = copy.deepcopy(cluster)
        objects = [each for each in objects_in(changed["spec"]) if each]
        objects[place]["mispelt"] = 1
        try:
            validate(changed, KUBERNETES_VERSIONS[0])
        except jsonschema.ValidationError:
            refused += 1
    # A map of quantities is open to any name, and refuses nothing.
    assert refused >= depths - 2


@pytest.mark.parametrize("operator", OPERATORS)
def test_values_lead_to_what_the_operator_makes(render, operator):
    cluster, others = manifests_of(operator)
    name, namespace = cluster["metadata"]["name"], cluster["metadata"]["namespace"]
    service, made = MADE[operator]
    values = values_of(operator)
    assert values["server"]["host"] == f"{service.format(cluster=name)}.{namespace}.svc"
    written = {each["metadata"]["name"] for each in others if each["metadata"]["namespace"] == namespace}
    wanted = {values["server"]["passwordSecret"]["name"]}
    wanted |= {each["secret"] for each in [values["server"].get("sslRootCertificate")] if each}
    assert wanted <= written | {each.format(cluster=name) for each in made}
    manifests = render(values)
    for each in manifests.values():
        validate(each, KUBERNETES_VERSIONS[-1])
    environment = {each["name"]: each.get("value") for each in pod_of(manifests)["containers"][0]["env"]}
    assert environment["PGSSLMODE"] == values["server"]["sslmode"] != "disable"


@pytest.mark.parametrize("operator", OPERATORS)
def test_role_of_the_example_sees_every_session(own_server, operator):
    with Scene(own_server().dsn) as scene:
        for statement in statements_of(operator):
            scene.admin.execute(statement)
        scene.admin.execute("alter role pgdoctor password 'of-the-test'")
        scene.role("app")
        holder = scene.client("select pg_advisory_xact_lock(1)", user="app")
        scene.client(user="app").block("select pg_advisory_xact_lock(1)")
        (root,) = look(make_conninfo(scene.dsn, user="pgdoctor", password="of-the-test")).blockers
        assert (root.pid, root.statement) == (holder.pid, "select pg_advisory_xact_lock(?)")


def test_patroni_agent_polls_primary_and_standby_before_and_after_a_switchover(own_server, agent, tmp_path):
    primary = own_server()
    with psycopg.connect(primary.dsn, autocommit=True) as connection, standby_of(primary) as standby:
        connection.execute(CliRunner().invoke(cli, ["setup"], catch_exceptions=False).stdout)
        connection.execute("alter role pgdoctor password 'of-the-test'")
        running = agent(None, more=patroni_servers([primary, standby], tmp_path))
        wait_until(lambda: values_by_server(running, "pgdoctor_up") == {"shop-1": 1, "shop-2": 1})
        assert [is_standby(running, name) for name in ("shop-1", "shop-2")] == [False, True]
        primary.halt()
        promote(standby, make_conninfo(primary.dsn, port=conninfo_to_dict(standby.dsn)["port"]))
        wait_until(lambda: values_by_server(running, "pgdoctor_up") == {"shop-1": 0, "shop-2": 1})
        wait_until(lambda: not is_standby(running, "shop-2"))


def is_standby(running, name):
    return running.get(f"/diagnosis?server={name}").json()["server"]["in_recovery"]


def values_by_server(running, name):
    """The values of a metric that has the label `server` alone."""
    found = re.findall(rf'^{name}{{server="([^"]+)"}} (\S+)$', running.get("/metrics").text, re.MULTILINE)
    return {server: float(value) for server, value in found}


def patroni_servers(servers, folder):
    """Patroni's example with the addresses of running servers, and a password file."""
    passwords = folder / "passwords"
    ports = [conninfo_to_dict(each.dsn)["port"] for each in servers]
    passwords.write_text("".join(f"127.0.0.1:{port}:*:pgdoctor:of-the-test\n" for port in ports))
    passwords.chmod(0o600)
    tables = tomllib.loads((FOLDER / "patroni" / "pgdoctor.toml").read_text())["servers"][: len(servers)]
    lines = []
    for table, port in zip(tables, ports, strict=True):
        there = {"host": "127.0.0.1", "port": port, "sslmode": "disable", "passfile": str(passwords)}
        kept = {key: value for key, value in conninfo_to_dict(table["dsn"]).items() if not key.startswith("ssl")}
        lines += ["[[servers]]", f'name = "{table["name"]}"', f'dsn = "{make_conninfo("", **(kept | there))}"']
    return "\n".join(lines) + "\n"


def test_patroni_configuration_is_accepted_and_acts_on_no_session():
    file = FOLDER / "patroni" / "pgdoctor.toml"
    checked = pgdoctor("config", "check", file)
    assert checked.returncode == 0, checked.stderr
    assert tomllib.loads(file.read_text())["mitigation"] == {"mode": "off"}


def test_patroni_lines_of_pg_hba_are_read_by_the_server(own_server):
    """The server itself parses the file: a line that it cannot read is a row with an error."""
    server = own_server()
    lines = yaml.safe_load((FOLDER / "patroni" / "patroni.yml").read_text())["postgresql"]["pg_hba"]
    with (server.data / "pg_hba.conf").open("a") as file:
        file.write("\n".join([*lines, ""]))
    with psycopg.connect(server.dsn) as connection:
        rows = connection.execute("select user_name, auth_method, error from pg_hba_file_rules").fetchall()
    # The embedded server has no TLS, and says so of each line that asks for it.
    assert all("SSL is not supported by this build" in error for *_, error in rows if error)
    assert (["pgdoctor"], "scram-sha-256") in [row[:2] for row in rows]
