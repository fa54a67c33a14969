"""The service as EPICS sees it: status and control PVs that mirror nodes in Tiled, and a device for plans."""
