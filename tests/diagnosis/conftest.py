"""The tables of the causes, for every diagnosis that is staged."""

from tests.diagnosis.causes.conftest import shop

__all__ = ["shop"]
