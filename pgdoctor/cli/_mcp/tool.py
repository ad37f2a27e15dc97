"""What a tool is: a name, the types of its arguments and its answer, and a function between them."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Generic, TypeVar

import msgspec

from pgdoctor.errors import UsageError

A = TypeVar("A")

#: The name of a file, relation or topic, and how many entries of each kind an answer may list.
ShortText = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Most = Annotated[int, msgspec.Meta(ge=1, le=20, description="Entries of each kind to list.")]

#: Characters of a message about wrong arguments.
_MOST_MESSAGE = 200


class Tool(msgspec.Struct, Generic[A], frozen=True):
    """One tool. `run` takes the decoded arguments and returns a Struct; it raises PgdoctorError."""

    name: str
    title: str
    description: str
    #: A Struct that forbids unknown fields.
    arguments: type[A]
    answer: type[msgspec.Struct]
    run: Callable[[A], Awaitable[msgspec.Struct]]
    #: It only reads: the server, the journal, files.
    only_reads: bool = True

    async def call(self, arguments: Mapping[str, Any]) -> bytes:
        """The answer to these arguments, as JSON. Raises PgdoctorError."""
        return msgspec.json.encode(await self.run(self._decode(arguments)))

    def _decode(self, arguments: Mapping[str, Any]) -> A:
        try:
            return msgspec.convert(arguments, self.arguments)
        except msgspec.ValidationError as error:
            raise UsageError(f"{self.name}: {str(error)[:_MOST_MESSAGE]}") from None
