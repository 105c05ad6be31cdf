"""`python -m tlfast` is the command `tlfast`."""

import sys

from tlfast.cli import main

if __name__ == "__main__":
    sys.exit(main())
