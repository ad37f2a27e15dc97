"""A property that is computed once."""

from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar, overload

Value = TypeVar("Value", covariant=True)


class lazy(Generic[Value]):  # noqa: N801 - a decorator
    """As `functools.cached_property`, without the lock that this one takes before Python 3.12.

    A diagnosis of a thousand sessions computes 50,000 of them, and the lock was a third of their cost (measured).
    Two threads may compute the same value twice.
    """

    def __init__(self, compute: Callable[[Any], Value]) -> None:
        self._compute = compute
        self.__doc__ = compute.__doc__

    def __set_name__(self, _: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, _: type | None = None) -> Self: ...

    @overload
    def __get__(self, instance: object, _: type | None = None) -> Value: ...

    def __get__(self, instance: object | None, _: type | None = None) -> Self | Value:
        if instance is None:
            return self
        value = instance.__dict__[self._name] = self._compute(instance)
        return value
