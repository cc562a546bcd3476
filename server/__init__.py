"""The front: HTTP and websocket edge of Weft. Imports neither torch nor a node."""
