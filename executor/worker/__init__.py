"""The worker process: owns one device and runs nodes, one prompt at a time."""
