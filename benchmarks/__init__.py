"""Figures of Weft, each beside its floor measured in the same run: python -m benchmarks. See README.md."""
