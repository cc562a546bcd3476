"""Custom nodes: finds packs, loads them as they are, and tells what came of each."""
