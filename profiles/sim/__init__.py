"""The simulated beamline: an EPICS IOC in its own process, on loopback only."""
