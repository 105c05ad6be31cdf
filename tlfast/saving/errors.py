"""The one exception that every reader of model and weight files raises for a bad file."""

from tlfast._shown import shown

_MAX_MESSAGE = 2000


class FormatError(ValueError):
    """A model or weight file is damaged, not of the expected format, or not allowed.

    The message names the file and the place in it; what it quotes from the file is escaped and
    cut. Readers raise nothing else for the content of a file; a file that cannot be opened or
    read raises OSError.

    Args:
        message: the text.
    """

    def __init__(self, message: str) -> None:
        super().__init__(shown(message, _MAX_MESSAGE))
