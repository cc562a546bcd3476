"""Runs models: files to modules, text to conditioning, latents to pictures. Knows no graphs, queues or HTTP."""
