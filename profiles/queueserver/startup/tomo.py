"""A queueserver at the tomography beamline. For another one, copy the folder and name its table of PVs."""

from profiles.session import begin

session = begin(window=False)
# A service may come later. Without a beamline, the environment does not open, and says why.
beamline = session.beamline

RE = session.RE
rotation, sample, shutter, camera = session.devices
tomo_scan, tomo_fly = session.plan("tomo_scan"), session.plan("tomo_fly")
tomo_until_converged = session.plan("tomo_until_converged")
