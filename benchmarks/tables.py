"""The README's tables, written from the results it names.

Between two comments of the README stands what `render` makes of the newest result of each kind;
below each table stand the command and the file. tests/test_benchmark_tables.py holds the README
against the files it names, so no figure is written by hand.
"""

import argparse
import json
import re
import statistics
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import frozen
import networks
import predict
import train
from process import HERE, middle

README = HERE.parent / "README.md"
START, END = "<!-- written by benchmarks/run.py tables -->\n", "<!-- end of what it writes -->\n"
_NAME = re.compile(r"([a-z0-9-]+)-\d{8}-\d{6}\.json")

Results = dict[str, tuple[str, dict[str, Any]]]  # kind of result: file name, content
Figure = Callable[[dict[str, Any]], float | None]  # of one network's part of a result


def load(paths: list[Path]) -> Results:
    """Results by their kind; of each kind the last of paths that have it."""
    found = {}
    for path in paths:
        if match := _NAME.fullmatch(path.name):
            found[match[1]] = (path.name, json.loads(path.read_text()))
    return found


def newest() -> Results:
    return load(sorted((HERE / "results").glob("*.json")))


def named_in(text: str) -> Results:
    """The results whose files a text names."""
    return load([HERE / "results" / match[0] for match in _NAME.finditer(text)])


# ---- figures -------------------------------------------------------------------------------


def median(part: dict[str, Any], name: str) -> float:
    return middle(part["seconds"][name])[0]


def against_fastest(*prefixes: str) -> Figure:
    """The fastest peer's time / tlfast's; of the peers whose names begin so, or of all."""

    def figure(part: dict[str, Any]) -> float | None:
        names = [n for n in part["seconds"] if n != "tlfast" and n.startswith(prefixes or "")]
        if not names:
            return None
        return min(median(part, name) for name in names) / median(part, "tlfast")

    return figure


def memory_of_peer(part: dict[str, Any]) -> float:
    memory = part["memory"]
    return memory["tlfast"] / min(memory[name] for name in memory if name != "tlfast")


def memory_of_bound(part: dict[str, Any]) -> float:
    return part["memory"]["tlfast"] / part["lower_bound"]


def step_of_limit(part: dict[str, Any]) -> float:
    return middle(part["step"])[0] / middle(part["limit of a step"])[0]


def prediction_of_limit(part: dict[str, Any]) -> float:
    return middle(part["inference"])[0] / middle(part["limit of inference"])[0]


def images_per_second(part: dict[str, Any]) -> float:
    return train.BATCH / median(part, "tlfast")


def first_step(part: dict[str, Any]) -> float | None:
    keras = part["first"].get("keras")
    return keras / part["first"]["tlfast"] if keras else None


# ---- tables --------------------------------------------------------------------------------


def paragraph(sentences: list[str]) -> list[str]:
    """Of sentences that differ, in the README's width."""
    return textwrap.wrap("; ".join(dict.fromkeys(sentences)) + ".", 100,
                         break_long_words=False, break_on_hyphens=False)  # fmt: skip


def row(label: str, cells: list[str]) -> str:
    return f"| {label} | {' | '.join(cells)} |"


class Row(NamedTuple):
    """A line of a table of the seven networks."""

    label: str
    kind: str  # of result
    form: str  # of a number
    figure: Figure
    has_mean: bool = True


def by_network(results: Results, rows: list[Row]) -> list[str]:
    """A table of the seven networks, of the rows that have figures."""
    lines, sources = [], []
    for label, kind, form, figure, has_mean in rows:
        if kind not in results:
            continue
        file, content = results[kind]
        values = [figure(content["networks"][n]) if n in content["networks"] else None
                  for n in networks.NAMES]  # fmt: skip
        known = [value for value in values if value is not None]
        if not known:
            continue
        cells = [form.format(value) if value is not None else "" for value in values]
        cells.append(form.format(statistics.geometric_mean(known)) if has_mean else "")
        lines.append(row(label, cells))
        sources.append(cited(file, content))
    if not lines:
        return []
    head = [*networks.NAMES, "geometric mean"]
    return [row("", head), "|---" * (len(head) + 1) + "|", *lines, "", *paragraph(sources), ""]


def cited(file: str, content: dict[str, Any]) -> str:
    """Where figures come from."""
    on = content["machine"]
    return (f"`{content['command']}` at {on['commit']} on {on['cpu']}, {on['cores']} cores with "
            f"{on['instructions']}: `{file}`")  # fmt: skip


def predicted(batch: int, name: str) -> Figure:
    return lambda part: predict.ratio_to(part[str(batch)], name) if str(batch) in part else None


TRAINING = [
    Row("f32, fastest peer / tlfast", "train", "{:.2f}x", against_fastest()),
    Row("bf16, fastest bf16 peer / tlfast", "train-bf16", "{:.2f}x", against_fastest()),
    Row("f32 with AVX2 only", "train-avx2", "{:.2f}x", against_fastest()),
    Row("f32 step / its direct convolutions alone", "limit", "{:.2f}", step_of_limit, False),
    Row("bf16 step / its direct bf16 convolutions", "limit-bf16", "{:.2f}", step_of_limit, False),
    Row("peak memory, tlfast / best peer", "train", "{:.2f}", memory_of_peer),
    Row("peak memory / lower bound", "train", "{:.2f}", memory_of_bound),
    Row("images per second, f32", "train", "{:.1f}", images_per_second, False),
    Row("images per second, bf16", "train-bf16", "{:.1f}", images_per_second, False),
    Row("first step, Keras / tlfast", "train", "{:.1f}x", first_step),
]
FROZEN = [
    Row("f32, fastest peer / tlfast", "train-frozen", "{:.2f}x", against_fastest()),
    Row("bf16, Keras / tlfast", "train-frozen-bf16", "{:.2f}x", against_fastest("keras")),
    Row("bf16, fastest peer / tlfast", "train-frozen-bf16", "{:.2f}x", against_fastest()),
    Row("images per second, f32", "train-frozen", "{:.0f}", images_per_second, False),
    Row("images per second, bf16", "train-frozen-bf16", "{:.0f}", images_per_second, False),
]
PREDICTION = [
    Row("f32, batches of 16, OpenVINO / tlfast", "predict", "{:.2f}x", predicted(16, "openvino")),
    Row("f32, batches of 16, ONNX Runtime", "predict", "{:.2f}x", predicted(16, "onnxruntime")),
    Row("f32, batches of 16, Keras", "predict", "{:.2f}x", predicted(16, "keras")),
    Row("f32, one image, OpenVINO", "predict", "{:.2f}x", predicted(1, "openvino")),
    Row("f32, one image, ONNX Runtime", "predict", "{:.2f}x", predicted(1, "onnxruntime")),
    Row("f32, one image, Keras", "predict", "{:.1f}x", predicted(1, "keras")),
    Row("f32, batches of 16 / their direct convolutions alone", "limit", "{:.2f}",
        prediction_of_limit, False),
    Row("bf16, batches of 16, OpenVINO", "predict-bf16", "{:.2f}x", predicted(16, "openvino")),
    Row("bf16, one image, OpenVINO", "predict-bf16", "{:.2f}x", predicted(1, "openvino")),
    Row("bf16, batches of 16 / their direct convolutions alone", "limit-bf16", "{:.2f}",
        prediction_of_limit, False),
]


def head_table(results: Results) -> list[str]:
    """A new head on a frozen network, from files on disk."""
    if "frozen" not in results:
        return []
    file, content = results["frozen"]
    lines: dict[str, list[str]] = {}
    for part in content["networks"].values():
        for label, text in frozen.figures(part):
            lines.setdefault(label, []).append(text)
    titles = [frozen.TITLES[name] for name in content["networks"]]
    return [row("", titles), "|---" * (len(titles) + 1) + "|",
            *(row(label, cells) for label, cells in lines.items()), "",
            *paragraph([cited(file, content)]), ""]  # fmt: skip


def million_text(results: Results) -> list[str]:
    """Where a faster machine is wanted."""
    parts = []
    for kind, said in (("train", "an epoch through the whole network"),
                       ("train-frozen", "once through a frozen one")):  # fmt: skip
        if kind in results:
            part = results[kind][1]["networks"]
            hours = [f"{name} {1e6 / images_per_second(part[name]) / 3600:.0f}"
                     for name in ("ResNet50", "MobileNetV2") if name in part]  # fmt: skip
            parts.append(f"{said} {' and '.join(hours)} hours")
    return [*paragraph([f"A million images take {'; '.join(parts)}"]), ""] if parts else []


def end_table(results: Results) -> list[str]:
    """Minutes from an empty environment to a saved model."""
    if "end-to-end" not in results:
        return []
    file, content = results["end-to-end"]
    install = {name: sum(parts.values()) for name, parts in content["install"].items()}
    lines = [row("", ["tlfast", "Keras", "Keras / tlfast"]), "|---|---|---|---|",
             row("environment and `pip install`",
                 [f"{install[name]:.0f} s" for name in ("tlfast", "keras")] + [""])]  # fmt: skip
    for setting, seconds in content["settings"].items():
        ours, keras = ((seconds[name] + install[name]) / 60 for name in ("tlfast", "keras"))
        cells = [f"{ours:.1f} min", f"{keras:.1f} min", f"{keras / ours:.1f}x"]
        lines.append(row(f"{setting}, with installation", cells))
    return [*lines, "", *paragraph([cited(file, content)]), ""]


def growth_text(results: Results) -> list[str]:
    if "growth" not in results:
        return []
    file, content = results["growth"]
    parts = []
    for kind in ("frozen", "unfrozen"):
        first, last = content[kind][0], content[kind][-1]
        times = last["images"] / first["images"]
        slower = last["ms_per_image"] / first["ms_per_image"]
        parts.append(f"{kind}, {times:.0f} times the images take {slower:.2f} times as long per "
                     f"image and {last['peak'] - first['peak']:+.0f} MB of memory")  # fmt: skip
    worst = max(abs(step["grown"] / step["planned"] - 1) for step in content["sizes"])
    parts.append(f"the plan tells the memory of {len(content['sizes'])} combinations of network, "
                 f"batch and image size to within {worst:.1%}")  # fmt: skip
    return [*paragraph([f"Growth: {parts[0]}", *parts[1:]]), "",
            *paragraph([cited(file, content)]), ""]  # fmt: skip


def render(results: Results) -> str:
    """The README's part, from what there is."""
    parts = [
        ("One step of training through the whole network", by_network(results, TRAINING)),
        ("A first pass through a frozen network, head included",
         by_network(results, FROZEN)),
        ("Files on disk to a new head on a frozen network", head_table(results)),
        ("`predict`, peer's time / tlfast's", by_network(results, PREDICTION)),
        ("From an empty environment to a saved model", end_table(results)),
        ("", growth_text(results)),
        ("", million_text(results)),
    ]  # fmt: skip
    lines = []
    for title, table in parts:
        if table and title:
            lines += [f"### {title}", ""]
        lines += table
    return "\n".join(lines) + "\n"


def written() -> str:
    """What stands in the README."""
    found = re.search(re.escape(START) + "(.*?)" + re.escape(END), README.read_text(), re.DOTALL)
    if found is None:
        sys.exit(f"{README} has no line {START.strip()!r} with {END.strip()!r} behind it")
    return found[1]


def run(options: argparse.Namespace) -> None:
    """Writes the tables, or with `check` says whether they are those of the files they name."""
    if options.check:
        if render(named_in(written())) != written():
            sys.exit(f"{README}: its tables are not what its files of benchmarks/results/ say")
        return
    results = newest()
    text = README.read_text().replace(START + written() + END, START + render(results) + END)
    README.write_text(text)
    print(f"{README}: tables written from {len(results)} results")
