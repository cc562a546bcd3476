"""Engines: how the front starts, watches and talks to workers."""
