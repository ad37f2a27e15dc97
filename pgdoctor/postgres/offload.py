"""Work on a snapshot, in a thread where it is big, so that the event loop goes on: HTTP is answered meanwhile."""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

#: Sessions from which on work on them takes long enough to hold others up. A thousand take a fifth of a second.
_MANY_SESSIONS = 25


async def offload(sessions: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `work` returns; done in a thread if there are many sessions."""
    if sessions < _MANY_SESSIONS:
        return work(*args, **kwargs)
    return await asyncio.to_thread(work, *args, **kwargs)
