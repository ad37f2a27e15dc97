"""A storm of a thousand waiting sessions fits into the context window of an assistant."""

import asyncio
import resource
from collections.abc import Iterator

import pytest
from mcp import Client

from pgdoctor.demo.throwaway_server import ThrowawayServer
from tests.bench import crowds
from tests.mcp.clients import call, over_stdio

pytestmark = [pytest.mark.long, pytest.mark.deadline(900)]

#: Tokens that an answer may take. Public byte-pair encodings have 3.4 to 4 bytes a token of such answers; the least is
#: counted with, and both copies of an answer (text and structure) fit.
MOST_TOKENS = 4_000
BYTES_A_TOKEN = 3.3


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("shape", ["convoy", "pairs"])
def test_storm_of_a_thousand_is_short(own_server, many_descriptors: None, shape: str) -> None:
    server: ThrowawayServer = own_server(max_connections=crowds.MOST_CONNECTIONS)

    async def look() -> dict[str, int]:
        async with crowds.staged(server.dsn, shape), over_stdio("--dsn", server.dsn) as client:
            return await measure(client)

    sizes = asyncio.run(look())
    assert {name: size / BYTES_A_TOKEN for name, size in sizes.items() if size / BYTES_A_TOKEN > MOST_TOKENS / 2} == {}


async def measure(client: Client) -> dict[str, int]:
    """Bytes of each answer."""
    diagnosis = await call(client, "diagnose")
    facts = diagnosis.facts
    assert facts["blocked_sessions"] == crowds.WAITERS
    assert facts["blockers_total"] == len(facts["blockers"]) + facts["blockers_left_out"]
    listed = sum(each["sessions"] for each in facts["waiting"])
    assert listed + facts.get("waiting_left_out", 0) == crowds.WAITERS
    assert facts["cuts"]
    others = [("triage", {}), ("plan", {}), ("holders", {"relation": "public.bench"})]
    answers = {name: (await call(client, name, **given)).text for name, given in others}
    return {name: len(text.encode()) for name, text in {"diagnose": diagnosis.text, **answers}.items()}
