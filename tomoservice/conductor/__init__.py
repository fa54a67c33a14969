"""The process that drives queued reconstructions to completion."""
