"""Runs a notebook's code cells in one plain process and keeps what they print.

    python notebooks/execute.py notebooks/01_hot_dog.ipynb --folder DIR [--write]

DIR holds the images that the notebook names; --write puts the outputs into the notebook.
"""

import argparse
import ast
import contextlib
import io
import json
import os
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def execute(notebook: Path) -> dict[str, Any]:
    """The notebook with the outputs of a run in the current folder; errors come through."""
    content = json.loads(notebook.read_text())
    names: dict[str, Any] = {"__name__": "__main__"}
    count = 0
    for cell in content["cells"]:
        if cell["cell_type"] != "code":
            continue
        count += 1
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            value = run_cell("".join(cell["source"]), f"cell {count}", names)
        cell["execution_count"], cell["outputs"] = count, outputs(printed.getvalue(), value, count)
    return content


def run_cell(source: str, name: str, names: dict[str, Any]) -> Any:
    """Runs a cell; returns the value of a last expression, as notebooks show it."""
    tree = ast.parse(source, name)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, name, "exec"), names)
    if last is None:
        return None
    return eval(compile(ast.Expression(last.value), name, "eval"), names)


def outputs(printed: str, value: Any, count: int) -> list[dict[str, Any]]:
    """What a cell printed and returned, in the notebook's format."""
    made: list[dict[str, Any]] = []
    if printed:
        # Warnings name files by their place on this machine, which says nothing elsewhere.
        printed = printed.replace(f"{ROOT}{os.sep}", "")
        text = printed.splitlines(keepends=True)
        made.append({"output_type": "stream", "name": "stdout", "text": text})
    if value is not None:
        data = {"text/plain": repr(value).splitlines(keepends=True)}
        if hasattr(value, "_repr_html_"):
            data["text/html"] = value._repr_html_().splitlines(keepends=True)
        result = {"output_type": "execute_result", "execution_count": count, "metadata": {}}
        made.append(result | {"data": data})
    return made


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    notebook = options.notebook.resolve()
    os.chdir(options.folder)
    content = execute(notebook)
    if options.write:
        notebook.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    for cell in content["cells"]:
        for output in cell.get("outputs", []):
            print("".join(output.get("text") or output["data"]["text/plain"]))


if __name__ == "__main__":
    main()
