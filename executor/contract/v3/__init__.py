"""The V3 way of writing nodes: schemas of typed inputs and outputs. `io` is what packs import from it."""
