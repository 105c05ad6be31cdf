"""The one exception that every reader of model and weight files raises for a bad file."""


class FormatError(ValueError):
    """A model or weight file is damaged, not of the expected format, or not allowed.

    The message names the file and the place in it. Readers raise nothing else for the
    content of a file; a file that cannot be opened or read raises OSError.
    """
