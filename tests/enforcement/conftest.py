"""The staged incident with bystanders, which tests of mitigation share."""

from tests.mitigation.conftest import incident

__all__ = ["incident"]
