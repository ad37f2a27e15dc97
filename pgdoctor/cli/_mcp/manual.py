"""The manual: a tool for one topic, and each topic as a resource."""

from collections.abc import Mapping
from functools import cache
from typing import Annotated

import msgspec

from pgdoctor.cli._mcp.tool import ShortText, Tool
from pgdoctor.cli.explain import read_metrics
from pgdoctor.errors import UsageError
from pgdoctor.render.brief.manual import BriefTopic, split_page
from pgdoctor.topics import load_manual, read_shelves, render_shelved, render_topic

#: Of a resource's address; the topic follows.
SCHEME = "pgdoctor://manual/"

#: Characters of a line.
_WIDTH = 100


class TopicQuestion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which page to read."""

    topic: Annotated[ShortText, msgspec.Meta(description="The default lists all topics.")] | None = None
    part: Annotated[int, msgspec.Meta(ge=1, le=1_000, description="Part of a long page, from 1.")] = 1


EXPLAIN: Tool[TopicQuestion]


@cache
def list_topics() -> Mapping[str, tuple[str, ...]]:
    """The names of all topics by kind: pages of the manual, classes, findings, guards, alerts."""
    return {"manual": tuple(load_manual()), **{kind: tuple(shelf) for kind, shelf in read_shelves().items()}}


def read_topic(topic: str) -> str:
    """The page of a topic, as text. Raises UsageError where there is none."""
    if topic.startswith("pgdoctor_"):
        page = render_shelved(topic, {"metric": read_metrics()}, _WIDTH)
    else:
        page = render_topic(topic, _WIDTH)
    if page is None:
        raise UsageError(f"there is no topic {topic[:50]!r}: the tool explain without a topic lists all")
    return page


async def _explain(question: TopicQuestion) -> BriefTopic:
    if question.topic is None:
        return BriefTopic(topics=list_topics())
    found = split_page(question.topic, read_topic(question.topic), question.part)
    if found is None:
        raise UsageError(f"explain: the page {question.topic} has no part {question.part}")
    return found


EXPLAIN = Tool(
    "explain",
    "Manual",
    "The manual's page of a class, finding, guard, alert or topic: what it means, what to do, what not to do.",
    TopicQuestion,
    BriefTopic,
    _explain,
)
