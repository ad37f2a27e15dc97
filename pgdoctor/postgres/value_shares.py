"""How frequent the values are that running blockers search for. A value goes to the server as a parameter, and nowhere
else: the result is a number, and of an error only that there was one.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from pgdoctor.diagnosis.index_advice.value_requests import ValueRequest, value_requests
from pgdoctor.model.snapshot import Snapshot, ValueShare
from pgdoctor.postgres.catalog import CatalogReader
from pgdoctor.postgres.offload import offload
from pgdoctor.sqltext.lexer import scan_tokens

#: Values that are asked about in one poll.
MOST_VALUES = 200


async def fetch_value_shares(snapshot: Snapshot, evidence: CatalogReader) -> dict[int, tuple[ValueShare, ...]]:
    """By PID of a blocker: the share of the rows that have the values it searches a column for.

    Nothing is asked unless one of them searches a big table for such a value without an index.
    """
    requests = await offload(len(snapshot.sessions), value_requests, snapshot)
    found: dict[int, tuple[ValueShare, ...]] = defaultdict(tuple)
    for way, statement in (("role", "value_frequencies"), ("functions", "value_frequencies_by_functions")):
        asked = [each for each in requests if each.column.statistics_by == way]
        shares = await _fetch_shares(asked, statement, snapshot, evidence) if asked else {}
        for request in asked:
            if request in shares:
                share = ValueShare(request.table, request.column.name, shares[request], request.is_excluded)
                found[request.node] += (share,)
    return dict(found)


async def _fetch_shares(
    requests: Sequence[ValueRequest], statement: str, snapshot: Snapshot, evidence: CatalogReader
) -> Mapping[ValueRequest, float]:
    """The share of all values of a request together; a request is left out where one of them is not known."""
    asked = [(request, value) for request in requests for value in request.values][:MOST_VALUES]
    parameters: dict[str, object] = {
        "relations": [request.table for request, _ in asked],
        "columns": [request.column.name for request, _ in asked],
        "literals": [value.encode() for _, value in asked],
    }
    if statement == "value_frequencies":
        names = [_bare_names(snapshot.relations[request.table].name) for request in requests]
        parameters |= {"tables": sorted({name for _, name in names}), "schemas": sorted({name for name, _ in names})}
    rows = await evidence.fetch_rows(statement, **parameters)
    known = {row.place: row.share for row in rows}
    shares: dict[ValueRequest, float] = defaultdict(float)
    for place, (request, _) in enumerate(asked, start=1):
        shares[request] += known.get(place, float("inf"))
    numbers = {request: sum(each is request for each, _ in asked) for request in shares}
    return {
        request: min(share, 1.0)
        for request, share in shares.items()
        if share != float("inf") and numbers[request] == len(request.values)
    }


def _bare_names(name: str) -> tuple[str, str]:
    """Schema and table without the quotes that a statement needs."""
    schema, table = (token.value for token in scan_tokens(name) if token.is_name)
    return schema, table
