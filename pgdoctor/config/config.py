"""The configuration file, `pgdoctor.toml`: TOML in, frozen values out, every mistake named by its key."""

import os
import tomllib
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, get_type_hints

import msgspec
from msgspec.structs import replace

from pgdoctor.config.validation import convert_value, describe_mistake, join_lines, read_document
from pgdoctor.errors import ConfigError, UsageError
from pgdoctor.fields import HIDDEN, Duration, Name, Size, ValidationError
from pgdoctor.journal.location import MAX_SIZE, default_path
from pgdoctor.mitigation.rule_validation import find_mistakes
from pgdoctor.mitigation.rules import Mitigation
from pgdoctor.notify.settings import Recipient, is_address
from pgdoctor.notify.settings import find_recipient_mistakes as mistaken_recipients
from pgdoctor.secret_file import find_writers

#: The shortest time between two polls; each costs the server some milliseconds.
_SHORTEST_INTERVAL = 0.1

_HIGHEST_PORT = 65_535

_SMALLEST_JOURNAL = Size(16 * 1024 * 1024)


_ADDRESS = 'HOST:PORT, such as "127.0.0.1:9899" or "[::1]:9899"'
Address = Annotated[str, msgspec.Meta(pattern=r"^(\[[^][\s]+\]|[^][:\s]*):[0-9]{1,5}\Z", description=_ADDRESS)]
Host = Annotated[
    str, msgspec.Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,252}\Z", description='a host name such as "db1.example"')
]
Share = Annotated[float, msgspec.Meta(gt=0, le=1, description="a number above 0, at most 1")]

Service = Annotated[
    str, msgspec.Meta(pattern=r"^[^\s'\\]+\Z", description="the name of a section in libpq's service file")
]


class AgentSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The `[agent]` table; each key is also a flag of `pgdoctor agent` and an environment variable."""

    #: From the beginning of one poll to that of the next.
    interval: Duration = Duration(1)
    #: What connecting, and each statement, may take.
    deadline: Duration = Duration(5)
    #: A shorter wait is no incident: under write load some session always waits for a few milliseconds.
    wait_threshold: Duration = Duration(0.1)
    #: From one login of the agent's own to the next, which shows whether clients can log in; 0: none.
    login_probe_interval: Duration = Duration(15)
    #: Of one core of the server: what all statements of the agent together may take of it.
    max_server_share: Share = 0.02
    #: Where the HTTP endpoints listen.
    listen: Address = "127.0.0.1:9899"
    #: The planner is asked to confirm unindexed scans.
    explain: bool = False
    #: While an incident touches another database of the server, its catalog is read over a connection of its own.
    look_into_databases: bool = True


class ServerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of `[[servers]]`: its name, which its metrics carry as a label, and one way to reach it."""

    name: Name
    #: As libpq takes it; without a password.
    dsn: str | None = None
    #: Read at every attempt to connect.
    dsn_file: str | None = None
    #: A section of libpq's service file.
    service: Service | None = None
    #: None: those of `[agent]`.
    interval: Duration | None = None
    deadline: Duration | None = None

    @property
    def conninfo(self) -> str:
        """What libpq takes, where it does not come from a file of ours."""
        return self.dsn if self.dsn is not None else f"service={self.service}"


class HttpSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The `[http]` table: who may ask, and how. All are paths of files, read at the start and at SIGHUP."""

    #: PEM; both or none.
    tls_certificate: str | None = None
    tls_key: str | None = None
    #: What a client has to send as `Authorization: Bearer …`.
    token_file: str | None = None
    #: Lines of `user:password`.
    basic_auth_file: str | None = None
    #: Names under which the page may be asked for, beside addresses, localhost, this machine's name and `listen`.
    allowed_hosts: tuple[Host, ...] = ()
    #: Where people reach the page, with the path prefix of a reverse proxy; for the links in alerts.
    external_url: str | None = None


class WebhookSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The `[webhook]` table: the token with which an alert may ask for a poll. Without one no alert may."""

    #: A file with what the sender has to give as `Authorization: Bearer …`; that of `[http]` does not open it.
    token_file: str | None = None


LogFormat = Literal["json", "text"]


class LogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The `[log]` table."""

    format: LogFormat = "json"
    #: Lines of one kind; the rest is only counted.
    lines_per_second: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 100


class JournalSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The `[journal]` table: where incidents, decisions and what was learnt are kept, and for how long."""

    #: None: where services keep their state (`default_path`).
    path: str | None = None
    keep: Duration = Duration(30 * 24 * 3600)
    #: Of the file; its write-ahead log takes up to 16 MB beside it.
    max_size: Size = Size(MAX_SIZE)

    @property
    def file(self) -> Path:
        """Where it lies."""
        return Path(self.path) if self.path else default_path(os.environ)


class ArchiveSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The `[archive]` table: a PostgreSQL database into which the agent copies its incidents; without one, none."""

    #: As libpq takes it; without a password.
    dsn: str | None = None
    #: Read at every attempt to connect.
    dsn_file: str | None = None
    #: Months that ended before are dropped.
    keep: Duration = Duration(366 * 24 * 3600)
    #: The database may be on a server that is watched: it is away when incidents are worst.
    on_watched_server: bool = False


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    agent: AgentSettings = AgentSettings()
    servers: tuple[ServerSettings, ...] = ()
    http: HttpSettings = HttpSettings()
    webhook: WebhookSettings = WebhookSettings()
    log: LogSettings = LogSettings()
    journal: JournalSettings = JournalSettings()
    archive: ArchiveSettings = ArchiveSettings()
    notify: tuple[Recipient, ...] = ()
    mitigation: Mitigation = Mitigation()


#: A file with every key and its default, to begin from; it loads as it is.
EXAMPLE = (Path(__file__).parent / "example.toml").read_text(encoding="utf-8")


class GivenOptions(NamedTuple):
    """An option of the agent that was given beside the file: `--interval` or PGDOCTOR_INTERVAL, and its text."""

    source: str
    text: str


def load_config(path: str | None, given: Mapping[str, GivenOptions] = types.MappingProxyType({})) -> Config:
    """The configuration in the file at `path`, or the defaults where there is none, with `given` over `[agent]`.

    Raises ConfigError.
    """
    config = Config() if path is None else parse_config(_read_file(path), path)
    own = {key: None for key in ("interval", "deadline") if key in given}
    return replace(
        config,
        agent=_override_settings(config.agent, given),
        servers=tuple(replace(each, **own) for each in config.servers),
    )


def parse_config(text: str, source: str) -> Config:
    """The configuration written in `text`; `source` is how errors call it. Raises ConfigError with all mistakes."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source}: not valid TOML: {join_lines(str(error))}") from None
    except RecursionError:
        raise ConfigError(f"{source}: nested too deeply") from None
    except ValueError:
        raise ConfigError(f"{source}: a number has too many digits") from None
    config, found = read_document(raw, Config)
    taken_out = {each.key for each in found}
    found += [each for each in _find_mistakes(config) if _holds_without(taken_out, each)]
    if found:
        raise _make_error(found, f"{source}: ")
    return config


def _make_error(found: list[ValidationError], source: str = "") -> ConfigError:
    said = [describe_mistake(each) for each in found]
    return ConfigError(source + "; ".join(said), [source + each for each in said])


def _override_settings(agent: AgentSettings, given: Mapping[str, GivenOptions]) -> AgentSettings:
    values, found = {}, []
    kinds = get_type_hints(AgentSettings, include_extras=True)
    for key, (source, text) in given.items():
        try:
            values[key] = convert_value(text, kinds[key], strict=False)
        except ValueError as error:
            found.append(ValidationError(source, text, str(error)))
    for mistake in _mistaken_agent(replace(AgentSettings(), **values)):
        found.append(mistake._replace(key=given[mistake.key.removeprefix("agent.")].source))
    if found:
        raise _make_error(found)
    return replace(agent, **values)


def _read_file(path: str) -> str:
    try:
        # A user who may write it decides which sessions are signalled. A symbolic link will do: that is how Kubernetes
        # mounts it.
        if why := find_writers(Path(path).stat()):
            raise ConfigError(f"{path}: {why} {path}")
        # Some editors begin a file with a byte order mark.
        return Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError:
        raise ConfigError(f"{path}: not valid TOML: it is not UTF-8 text") from None


def _find_mistakes(config: Config) -> Iterator[ValidationError]:
    """What is well formed, and makes no sense."""
    yield from _mistaken_agent(config.agent)
    yield from _mistaken_servers(config.servers)
    yield from _mistaken_archive(config.archive)
    yield from _mistaken_http(config.http)
    if config.journal.max_size < _SMALLEST_JOURNAL:
        yield ValidationError("journal.max_size", str(config.journal.max_size), f"at least {_SMALLEST_JOURNAL}")
    for mistake in mistaken_recipients(config.notify):
        yield mistake._replace(key=f"notify{mistake.key}")
    for mistake in find_mistakes(config.mitigation, config.agent.interval):
        yield mistake._replace(key=f"mitigation.{mistake.key}")


#: Keys of a rule whose sense depends on others beside them.
_DEPENDENT = ("action", "grace", "statement")

#: Keys that no other key's sense depends on.
_BY_THEMSELVES = ("name", "interval", "deadline")


def _holds_without(taken_out: set[str], mistake: ValidationError) -> bool:
    """Whether something makes no sense whatever those keys should have said that were taken out of the document."""
    entry, _, key = mistake.key.rpartition(".")
    if mistake.key.endswith("]") and entry == "":
        # All of a server or receiver.
        others = {f"{mistake.key}.{each}" for each in _BY_THEMSELVES}
        return not any(each.startswith(f"{mistake.key}.") or each == mistake.key for each in taken_out - others)
    if mistake.key.endswith("]"):
        # All of a rule, and the rules before it.
        entry = mistake.key.rpartition("[")[0]
    elif key not in _DEPENDENT:
        return mistake.key not in taken_out
    return not any(each.startswith((f"{entry}.", f"{entry}[")) or each == entry for each in taken_out)


_EXTERNAL_URL = "http:// or https://, a host and perhaps a path; without user name, password, ? and #"


def _mistaken_http(http: HttpSettings) -> Iterator[ValidationError]:
    if (http.tls_certificate is None) != (http.tls_key is None):
        missing = "http.tls_key" if http.tls_key is None else "http.tls_certificate"
        yield ValidationError(missing, None, "a path; http.tls_certificate and http.tls_key go together")
    url = http.external_url
    if url is not None and (not is_address(url) or "?" in url or "#" in url):
        yield ValidationError("http.external_url", HIDDEN, _EXTERNAL_URL)


def _mistaken_agent(agent: AgentSettings) -> Iterator[ValidationError]:
    if agent.interval < _SHORTEST_INTERVAL:
        yield ValidationError("agent.interval", str(agent.interval), "at least 100ms")
    if agent.deadline < _SHORTEST_INTERVAL:
        yield ValidationError("agent.deadline", str(agent.deadline), "at least 100ms")
    if int(agent.listen.rpartition(":")[2]) > _HIGHEST_PORT:
        yield ValidationError("agent.listen", agent.listen, f"a port of at most {_HIGHEST_PORT}")


#: The name of the worst of all servers in the deep health check.
_TAKEN_NAME = "database"

_WAYS = ("dsn", "dsn_file", "service")
_SECRETS = ("password", "sslpassword", "oauth_client_secret")


def _mistaken_servers(servers: tuple[ServerSettings, ...]) -> Iterator[ValidationError]:
    for place, server in enumerate(servers):
        where = f"servers[{place}]"
        if server.name == _TAKEN_NAME or server.name in (other.name for other in servers[:place]):
            yield ValidationError(f"{where}.name", server.name, f'a unique name other than "{_TAKEN_NAME}"')
        ways = [way for way in _WAYS if getattr(server, way)]
        if len(ways) != 1:
            yield ValidationError(where, server.name, f"exactly one of {', '.join(_WAYS)}")
        if server.dsn:
            yield from _mistaken_dsn(f"{where}.dsn", server.dsn)
        given = {key: value for key in ("interval", "deadline") if (value := getattr(server, key)) is not None}
        for mistake in _mistaken_agent(replace(AgentSettings(), **given)):
            yield mistake._replace(key=mistake.key.replace("agent", where))


def _mistaken_archive(archive: ArchiveSettings) -> Iterator[ValidationError]:
    if archive.dsn is not None and archive.dsn_file is not None:
        yield ValidationError("archive", "dsn", "dsn or dsn_file, not both")
    if archive.dsn is not None:
        yield from _mistaken_dsn("archive.dsn", archive.dsn)


def _mistaken_dsn(where: str, dsn: str) -> Iterator[ValidationError]:
    # Here, not above: it takes the driver, and most files have no servers.
    from pgdoctor.postgres.dsn import parse_dsn

    try:
        parameters = parse_dsn(dsn)
    except UsageError as error:
        yield ValidationError(where, HIDDEN, str(error))
        return
    if any(secret in parameters for secret in _SECRETS):
        yield ValidationError(
            where, HIDDEN, "no password here: use dsn_file, service, passfile or PGPASSFILE (~/.pgpass)"
        )
