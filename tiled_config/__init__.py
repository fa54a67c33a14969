"""Tiled server configurations, and the validators and adapters that they name."""
