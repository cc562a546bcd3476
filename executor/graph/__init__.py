"""Prompts as graphs: parsing, validation, planning, caching, running. No torch, no HTTP."""
