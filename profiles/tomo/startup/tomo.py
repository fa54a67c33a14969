"""A session at the tomography beamline. For another beamline, copy this file and name its table of PVs."""

from bluesky import plan_stubs as bps
from bluesky import plans as bp

from profiles.session import begin

session = begin()

RE, tomo, db = session.RE, session.tomo, session.db
rotation, sample, shutter, camera = session.devices
tomo_scan, tomo_fly = session.plan("tomo_scan"), session.plan("tomo_fly")
tomo_status = session.tomo_status
