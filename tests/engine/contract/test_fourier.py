"""The Fourier method on the CPU keeps the contract."""

from tests.engine.contract.reconstructor import ReconstructorContract


class TestFourier(ReconstructorContract):
    method = "fourier"
