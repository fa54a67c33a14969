"""ASTRA's filtered back-projection keeps the contract."""

from tests.engine.contract.reconstructor import FilteredContract


class TestAstraFbp(FilteredContract):
    method = "astra_fbp"
