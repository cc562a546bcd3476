"""Whether the command line is read. Weft has always read its own by the time a pack can ask."""

args_parsing = True


def enable_args_parsing(enable: bool = True) -> None:
    """Set the flag; nothing follows from it."""
    global args_parsing
    args_parsing = enable
