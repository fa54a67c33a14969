"""The Fourier method on the CPU keeps the contract."""

from tests.engine.contract.reconstructor import FilteredContract


class TestFourier(FilteredContract):
    method = "fourier"
    # Its gridding is exact to about 1e-3 of the maximum, and errs elsewhere at another length.
    other_length = 2e-3
