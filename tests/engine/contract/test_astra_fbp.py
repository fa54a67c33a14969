"""ASTRA's filtered back-projection keeps the contract."""

from tests.engine.contract.reconstructor import ReconstructorContract


class TestAstraFbp(ReconstructorContract):
    method = "astra_fbp"
