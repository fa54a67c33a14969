"""The Fourier method on the CPU keeps the contract."""

from tests.engine.contract.reconstructor import FilteredContract


class TestFourier(FilteredContract):
    method = "fourier"
