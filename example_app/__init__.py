"""Imported by every process of the demo: a shop that makes mistakes on its event loop."""
