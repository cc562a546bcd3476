"""What a node is and how graphs and models run. Knows nothing of HTTP and of which nodes exist."""
