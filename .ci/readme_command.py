"""Prints a command of README.md exactly as it stands there: readme_command.py demo | tests.

CI and the bare-root test run the commands through this file, so that they cannot differ from
what a reader copies.
"""

import re
import sys
from pathlib import Path

ENDINGS = {"demo": "tlfast demo", "tests": "pytest"}


def readme_command(name: str) -> str:
    """The one shell line in README.md's fenced blocks that ends in the command's program."""
    text = Path(__file__).parent.parent.joinpath("README.md").read_text()
    lines = [block.strip() for block in re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)]
    found = [line for line in lines if line.endswith(".venv/bin/" + ENDINGS[name])]
    if len(found) != 1 or "\n" in found[0]:
        sys.exit(f"README.md must hold one line that ends in .venv/bin/{ENDINGS[name]}: {found}")
    return found[0]


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in ENDINGS:
        sys.exit("usage: readme_command.py demo | tests")
    print(readme_command(sys.argv[1]))
