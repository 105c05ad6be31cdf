"""The commands of `tlfast`, one module each.

A module has `HELP` (one line of `tlfast --help`), `DESCRIPTION`, `add_options(parser)` and
`run(options)`, which returns the exit status. It imports the package's machinery in `run` only, so
that `tlfast --help` is there at once.
"""


class CommandError(Exception):
    """Something the user can mend; the message is the sentence to print."""


# In the order in which --help lists them; each is a module of this package.
NAMES = ("demo", "compare", "run", "port", "doctor", "bench", "cache", "weights")
