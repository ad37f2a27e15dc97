"""The configuration file, `pgdoctor.toml`: TOML in, frozen values out, every mistake named by its key."""

import json
import os
import re
import tomllib
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec.structs import replace

from pgdoctor.errors import ConfigError, UsageError
from pgdoctor.journal.place import default_path
from pgdoctor.mitigation.lint import Mistake, mistakes
from pgdoctor.mitigation.rules import Mitigation, Name
from pgdoctor.mitigation.written import PARSE, Duration
from pgdoctor.notify.settings import HIDDEN, Recipient
from pgdoctor.notify.settings import mistakes as mistaken_recipients

#: The shortest time between two polls; each costs the server some milliseconds.
_SHORTEST_INTERVAL = 0.1


Address = Annotated[str, msgspec.Meta(pattern=r"^\S*:[0-9]{1,5}\Z", description='HOST:PORT, such as "127.0.0.1:9899"')]
Share = Annotated[float, msgspec.Meta(gt=0, le=1, description="a number above 0, at most 1")]

Service = Annotated[
    str, msgspec.Meta(pattern=r"^[^\s'\\]+\Z", description="the name of a section of libpq's service file")
]


class Agent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The `[agent]` table; each key is also a flag of `pgdoctor agent` and an environment variable."""

    #: From the beginning of one poll to that of the next.
    interval: Duration = Duration(1)
    #: What connecting, and each statement, may take.
    deadline: Duration = Duration(5)
    #: Who has waited for less is no incident: under write load somebody always waits for a few milliseconds.
    wait_threshold: Duration = Duration(0.1)
    #: Of one core of the server: what all statements of the agent together may take of it.
    max_server_share: Share = 0.02
    #: Where the HTTP endpoints listen.
    listen: Address = "127.0.0.1:9899"
    #: The planner is asked to confirm unindexed scans.
    explain: bool = False


class Server(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
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


class Http(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The `[http]` table: who may ask, and how. All are paths of files, read at the start and at SIGHUP."""

    #: PEM; both or none.
    tls_certificate: str | None = None
    tls_key: str | None = None
    #: What a client has to send as `Authorization: Bearer …`.
    token_file: str | None = None
    #: Lines of `user:password`.
    basic_auth_file: str | None = None


class Webhook(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The `[webhook]` table: who may ask for a fresh look by an alert. Without a token nobody."""

    #: A file with what the sender has to give as `Authorization: Bearer …`; that of `[http]` does not open it.
    token_file: str | None = None


LogFormat = Literal["json", "text"]


class Log(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The `[log]` table."""

    format: LogFormat = "json"
    #: Lines of one kind; what is more is counted.
    lines_per_second: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 100


class JournalSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The `[journal]` table: where incidents, decisions and what was learnt are kept, and for how long."""

    #: None: where services keep their state (`default_path`).
    path: str | None = None
    keep: Duration = Duration(30 * 24 * 3600)

    @property
    def file(self) -> Path:
        """Where it lies."""
        return Path(self.path) if self.path else default_path(os.environ)


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    agent: Agent = Agent()
    servers: tuple[Server, ...] = ()
    http: Http = Http()
    webhook: Webhook = Webhook()
    log: Log = Log()
    journal: JournalSettings = JournalSettings()
    notify: tuple[Recipient, ...] = ()
    mitigation: Mitigation = Mitigation()


#: A file with every key and its default, to begin from; it loads as it is.
EXAMPLE = (Path(__file__).parent / "example.toml").read_text(encoding="utf-8")


class Given(NamedTuple):
    """An option of the agent that somebody gave beside the file: `--interval` or PGDOCTOR_INTERVAL, and its text."""

    source: str
    text: str


def load(path: str | None, given: Mapping[str, Given] = types.MappingProxyType({})) -> Config:
    """The configuration in the file at `path`, or the defaults where there is none, with `given` over `[agent]`.

    Raises ConfigError.
    """
    config = Config() if path is None else parse(_read(path), path)
    own = {key: None for key in ("interval", "deadline") if key in given}
    return replace(
        config, agent=_with(config.agent, given), servers=tuple(replace(each, **own) for each in config.servers)
    )


def parse(text: str, source: str) -> Config:
    """The configuration written in `text`; `source` is how errors call it. Raises ConfigError with all mistakes."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source}: not valid TOML: {_one_line(str(error))}") from None
    except RecursionError:
        raise ConfigError(f"{source}: nested too deeply") from None
    except ValueError:
        raise ConfigError(f"{source}: a number has too many digits") from None
    found: list[Mistake] = []
    config = _convert(raw, found)
    if config is not None:
        taken_out = {each.key for each in found}
        found += [each for each in _mistaken(config) if _holds_without(taken_out, each)]
    if config is None or found:
        raise ConfigError(f"{source}: {'; '.join(map(_say, found))}")
    return config


def _with(agent: Agent, given: Mapping[str, Given]) -> Agent:
    values, found = {}, []
    kinds = get_type_hints(Agent, include_extras=True)
    for key, (source, text) in given.items():
        try:
            values[key] = msgspec.convert(text, kinds[key], strict=False, dec_hook=_decode)
        except (msgspec.ValidationError, ValueError):
            found.append(Mistake(source, text, _allowed(kinds[key])))
    for mistake in _mistaken_agent(replace(Agent(), **values)):
        found.append(mistake._replace(key=given[mistake.key.removeprefix("agent.")].source))
    if found:
        raise ConfigError("; ".join(map(_say, found)))
    return replace(agent, **values)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError:
        raise ConfigError(f"{path}: not valid TOML: it is not UTF-8 text") from None


def _mistaken(config: Config) -> Iterator[Mistake]:
    """What is well formed, and makes no sense."""
    yield from _mistaken_agent(config.agent)
    yield from _mistaken_servers(config.servers)
    yield from _mistaken_http(config.http)
    for mistake in mistaken_recipients(config.notify):
        yield mistake._replace(key=f"notify{mistake.key}")
    for mistake in mistakes(config.mitigation, config.agent.interval):
        yield mistake._replace(key=f"mitigation.{mistake.key}")


#: Keys of a rule whose sense depends on others beside them.
_DEPENDENT = ("action", "grace", "statement")


def _holds_without(taken_out: set[str], mistake: Mistake) -> bool:
    """Whether something makes no sense whatever those keys should have said that were taken out of the document."""
    entry, _, key = mistake.key.rpartition(".")
    if mistake.key.endswith("]"):
        # All of a server; all of a rule, and the rules before it.
        entry = mistake.key if entry == "" else mistake.key.rpartition("[")[0]
    elif key not in _DEPENDENT:
        return mistake.key not in taken_out
    return not any(each.startswith((f"{entry}.", f"{entry}[")) or each == entry for each in taken_out)


def _mistaken_http(http: Http) -> Iterator[Mistake]:
    if (http.tls_certificate is None) != (http.tls_key is None):
        missing = "http.tls_key" if http.tls_key is None else "http.tls_certificate"
        yield Mistake(missing, None, "a path; http.tls_certificate and http.tls_key go together")


def _mistaken_agent(agent: Agent) -> Iterator[Mistake]:
    if agent.interval < _SHORTEST_INTERVAL:
        yield Mistake("agent.interval", str(agent.interval), "at least 100ms")
    if agent.deadline < _SHORTEST_INTERVAL:
        yield Mistake("agent.deadline", str(agent.deadline), "at least 100ms")


#: The name of the worst of all servers in the deep health check.
_TAKEN_NAME = "database"

_WAYS = ("dsn", "dsn_file", "service")
_SECRETS = ("password", "sslpassword", "oauth_client_secret")
#: Keys of this file whose values are never shown, however wrong they are.
_SECRET_KEYS = ("dsn", "url")


def _mistaken_servers(servers: tuple[Server, ...]) -> Iterator[Mistake]:
    for place, server in enumerate(servers):
        where = f"servers[{place}]"
        if server.name == _TAKEN_NAME or server.name in (other.name for other in servers[:place]):
            yield Mistake(f"{where}.name", server.name, f'a name that no other server has, and not "{_TAKEN_NAME}"')
        ways = [way for way in _WAYS if getattr(server, way)]
        if len(ways) != 1:
            yield Mistake(where, server.name, f"exactly one of {', '.join(_WAYS)} says how to reach it")
        if server.dsn:
            yield from _mistaken_dsn(f"{where}.dsn", server.dsn)
        given = {key: value for key in ("interval", "deadline") if (value := getattr(server, key)) is not None}
        for mistake in _mistaken_agent(replace(Agent(), **given)):
            yield mistake._replace(key=mistake.key.replace("agent", where))


def _mistaken_dsn(where: str, dsn: str) -> Iterator[Mistake]:
    # Here, not above: it takes the driver, and most files have no servers.
    from pgdoctor.postgres.door import parse_dsn

    try:
        parameters = parse_dsn(dsn)
    except UsageError as error:
        yield Mistake(where, HIDDEN, str(error))
        return
    if any(secret in parameters for secret in _SECRETS):
        yield Mistake(
            where, HIDDEN, "no password in here: give dsn_file, service or passfile, or use PGPASSFILE (~/.pgpass)"
        )


# The decoder stops at the first mistake. To name all, each one is taken out of the document and the rest decoded
# again, until the document is sound or nothing more can be taken out.

_Keys = list[str | int]

_WHERE = re.compile(r"(?P<what>.*?)(?: - at `\$(?P<path>[^`]*)`)?", re.DOTALL)
_UNKNOWN_KEY = "Object contains unknown field"
_MISSING_KEY = re.compile(r"Object missing required field `(.*)`")
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")

#: Stand-ins for missing keys, so that the rest can be looked at.
_STAND_INS = {"name": "missing", "class": "unknown", "action": "terminate"}


def _convert(raw: dict[str, Any], found: list[Mistake]) -> Config | None:
    """The document as values, without the mistakes in its shape, which are added to `found`; None: nothing is left."""
    taken_out: set[tuple[str | int, ...]] = set()
    while True:
        try:
            config = msgspec.convert(raw, Config, dec_hook=_decode)
        except msgspec.ValidationError as error:
            if not _take_out(str(error), raw, taken_out, found):
                found.append(Mistake("this file", msgspec.UNSET, _one_line(str(error))))
                return None
        else:
            return config


def _decode(wanted: type, value: object) -> object:
    return PARSE[wanted](value)


def _take_out(said: str, raw: dict[str, Any], taken_out: set[tuple[str | int, ...]], found: list[Mistake]) -> bool:
    """Note one mistake and take it out of the document; False where there is none at the place that is named."""
    match = _WHERE.fullmatch(said)
    keys = _keys(match["path"]) if match else []
    if said.startswith(_UNKNOWN_KEY):
        table, known = _at(raw, keys), _known(keys)
        unknown = [key for key in table if key not in known]
        for key in unknown:
            found.append(Mistake(_dotted([*keys, key]), msgspec.UNSET, f"the keys here are {', '.join(known)}"))
            del table[key]
        return bool(unknown)
    if match and (missing := _MISSING_KEY.fullmatch(match["what"])):
        key = missing[1]
        if (*keys, key) not in taken_out:
            found.append(Mistake(_dotted([*keys, key]), None, _allowed(_type_at([*keys, key]))))
        _at(raw, keys)[key] = _STAND_INS[key]
        return True
    if not keys:
        return False
    value = HIDDEN if keys[-1] in _SECRET_KEYS else _at(raw, keys)
    found.append(Mistake(_dotted(keys), value, _allowed(_type_at(keys))))
    while not isinstance(keys[-1], str):
        keys.pop()
    del _at(raw, keys[:-1])[keys[-1]]
    taken_out.add(tuple(keys))
    return True


def _keys(path: str | None) -> _Keys:
    return [name or int(place) for name, place in _STEP.findall(path or "")]


def _at(raw: Any, keys: _Keys) -> Any:
    for key in keys:
        raw = raw[key]
    return raw


def _dotted(keys: _Keys) -> str:
    """The way to a key as people write it: `mitigation.rules[0].min_wait`."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{_one_line(key)}" for key in keys)
    return text.removeprefix(".")


def _type_at(keys: _Keys) -> Any:
    """The declared type of a value."""
    kind: Any = Config
    for key in keys:
        if isinstance(key, int):
            arrays = [each for each in _alternatives(kind) if get_origin(each) is tuple]
            kind = get_args(arrays[0])[0]
        else:
            field = next(field for field in msgspec.structs.fields(kind) if field.encode_name == key)
            kind = get_type_hints(kind, include_extras=True)[field.name]
    return kind


def _known(keys: _Keys) -> list[str]:
    return [field.encode_name for field in msgspec.structs.fields(_type_at(keys))]


def _alternatives(kind: Any) -> tuple[Any, ...]:
    if get_origin(kind) in (Union, types.UnionType):
        return tuple(each for each in get_args(kind) if each is not type(None))
    return (kind,)


def _allowed(kind: Any) -> str:
    """A type in words."""
    return " or ".join(map(_allowed_alternative, _alternatives(kind)))


def _allowed_alternative(kind: Any) -> str:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind in PARSE:
        return str(kind.allowed)
    if origin is Literal:
        return "one of " + ", ".join(f'"{value}"' for value in arguments)
    if origin is Annotated:
        meta = arguments[1]
        return meta.description or f"{_allowed(arguments[0])} from {meta.ge} to {meta.le}"
    if origin is tuple:
        return "a list of tables" if _is_table(arguments[0]) else f"a list, each {_allowed(arguments[0])}"
    if _is_table(kind):
        return "a table"
    return _IN_WORDS[kind]


_IN_WORDS = {str: "text in quotes", int: "a whole number", float: "a number", bool: "true or false"}


def _is_table(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _say(mistake: Mistake) -> str:
    if mistake.value is HIDDEN:
        return f"{mistake.key}: {mistake.allowed}"
    if mistake.value is msgspec.UNSET:
        return f"{mistake.key}: unknown key; {mistake.allowed}"
    if mistake.value is None:
        return f"{mistake.key} is missing: {mistake.allowed}"
    return f"{mistake.key} = {_shown(mistake.value)}: {mistake.allowed}"


def _shown(value: object) -> str:
    """A value as in the file, but on one line and not too long."""
    if isinstance(value, dict) and value:
        return "{…}"
    text = _one_line(json.dumps(value, ensure_ascii=False, default=str))
    return text if len(text) <= 60 else f"{text[:59]}…"


def _one_line(text: str) -> str:
    return "".join(char if char.isprintable() else "�" for char in text)
