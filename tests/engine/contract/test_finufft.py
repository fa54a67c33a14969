"""FINUFFT keeps the contract."""

from tests.engine.contract.reconstructor import FilteredContract


class TestFinufft(FilteredContract):
    method = "finufft"
