"""The version, read by the build (pyproject.toml) and by tlfast.__version__."""

__version__ = "0.1.0"
