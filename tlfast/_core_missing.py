"""Why the compiled core does not load, and what to do; imported only when it does not."""

import os
import re

_AGAIN = "install it again: pip install --force-reinstall --no-deps tlfast"
_IN_SOURCE = (
    "in the source folder run `pip install -e .` first (or start Python in another folder to use "
    "an installed tlfast)"
)
# Debian's packages of the libraries that the core is linked to.
_PACKAGES = {
    "libgomp": "libgomp1", "libjpeg": "libjpeg62-turbo (Ubuntu: libjpeg-turbo8)",
    "libpng": "libpng16-16",
}  # fmt: skip


def why_not_imported(error: ImportError) -> str:
    """Return the sentence for an extension module that cannot be imported.

    Args:
        error: what the import raised.
    """
    text = str(error)
    library = re.match(r"(lib[\w+-]+)\.so[.\d]*: cannot open shared object file", text)
    if library:
        package = _PACKAGES.get(re.sub(r"\d+$", "", library[1]))
        advice = f"install it (Debian: apt-get install -y {package})" if package else _AGAIN
        return f"tlfast's core needs the library {library[0].split(':')[0]}: {advice}. ({text})"
    # The core asks for NumPy's own core when it is imported; the reason behind is in the traceback.
    if "numpy" in text:
        return f"tlfast needs NumPy 2 or newer: pip install --upgrade numpy. ({text})"
    if "GLIBC_" in text:
        return (
            "this system's C library is older than the one tlfast was built for: build tlfast "
            f"here (pip install --no-binary tlfast tlfast) or use a newer system. ({text})"
        )
    return (
        f"tlfast's compiled core is missing or does not load: {_IN_SOURCE}. The reason was: {text}"
    )


def why_no_onednn(error: Exception, path: str) -> str:
    """Return the sentence for a oneDNN library that cannot be used.

    Args:
        error: what opening it raised.
        path: of the library.
    """
    if os.environ.get("TLFAST_DNNL"):
        advice = f"TLFAST_DNNL={path} names it; unset TLFAST_DNNL to use the one in the package"
    elif "libgomp" in str(error):
        advice = f"apt-get install -y {_PACKAGES['libgomp']}"
    else:
        advice = f"the copy that belongs to tlfast is gone or damaged; {_AGAIN}"
    return f"{error}: {advice}"
