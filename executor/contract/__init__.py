"""What a node is: one internal definition, and how each way of writing nodes becomes it."""
