"""`%load_ext tlfast` in Jupyter and IPython."""

import sys
from typing import Any

from tlfast import _run_hook


def load_ipython_extension(ipython: Any) -> None:
    """Serve `tensorflow` and `keras` from tlfast in this kernel, and say so in one line.

    Args:
        ipython: the shell, which calls this for `%load_ext tlfast`.
    """
    print(_run_hook.install(), file=sys.stderr)


def unload_ipython_extension(ipython: Any) -> None:
    """Serve them no more; names a cell imported before stay those of tlfast.

    Args:
        ipython: the shell, which calls this for `%unload_ext tlfast`.
    """
    _run_hook.uninstall()
