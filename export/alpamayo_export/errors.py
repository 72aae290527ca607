class ExportError(Exception):
    """The checkpoint or the command line cannot be exported; the message says why and what to do."""
