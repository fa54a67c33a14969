"""What a beamline session is made of: configuration, ophyd devices, plans, and a beamline to try them on."""
