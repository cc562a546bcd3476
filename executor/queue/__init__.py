"""The durable queue of the front: jobs on disk, and the dispatcher that gives them to workers."""
