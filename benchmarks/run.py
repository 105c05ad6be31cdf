"""Benchmarks: python benchmarks/run.py NAME [options]

frozen   a new head on a frozen network, beside Keras and scikit-learn      (frozen.py)
train    one step through whole networks, beside Keras and PyTorch          (train.py)
predict  images per second and milliseconds of one image, beside OpenVINO,
         ONNX Runtime and Keras                                             (predict.py)
limit    a step beside the sum of its convolution primitives                (limit.py)
growth   time against images, memory against images, batch and image size   (growth.py)
files    load_model with the first prediction, and save, beside Keras       (files.py)
end      from an empty environment to a saved model, beside Keras           (end_to_end.py)
all      every one of them, one after the other, then the README's tables
tables   the README's tables from the newest results                        (tables.py)

Each contender has its own process; they run in turns, so that a slow minute of the machine meets
all of them. Outputs are compared before anything is timed. Ratios come first; the figures are kept
as JSON in benchmarks/results/.

Peers: TLFAST_PEER_KERAS=PYTHON, TLFAST_PEER_TORCH=PYTHON and TLFAST_PEER_SERVE=PYTHON name the
Pythons that have tensorflow, keras and scikit-learn; torch; openvino, onnxruntime and onnx, where
they are not installed beside tlfast.
"""

import argparse
import shlex
import subprocess
import sys

import end_to_end
import files
import frozen
import growth
import limit
import networks
import predict
import tables
import train

# What `all` runs: the options of each.
PARTS = (
    "train", "train --bf16", "train --avx2", "train --frozen", "train --frozen --bf16",
    "limit", "limit --bf16", "predict", "predict --bf16", "frozen", "growth", "files", "end",
)  # fmt: skip


def run_all(options: argparse.Namespace) -> None:
    """Every part in a process of its own; one that fails does not keep the others from running."""
    failed = []
    for part in options.part or PARTS:
        print(f"\n== run.py {part}", flush=True)
        if subprocess.run([sys.executable, __file__, *shlex.split(part)]).returncode:
            failed.append(part)
    tables.run(options)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="name", required=True)
    command = commands.add_parser("frozen", help=frozen.__doc__.splitlines()[0])
    command.add_argument("--images", type=int, default=96)
    command.add_argument("--rounds", type=int, default=3)
    command.add_argument("--network", choices=frozen.NETWORKS)
    command.set_defaults(run=frozen.run)
    command = commands.add_parser("train", help=train.__doc__.splitlines()[0])
    command.add_argument("--rounds", type=int, default=3, help="steps that are timed")
    command.add_argument("--frozen", action="store_true", help="train the head only")
    command.add_argument("--bf16", action="store_true", help="mixed_bfloat16, torch's autocast")
    command.add_argument("--avx2", action="store_true", help="no wider instructions, for all")
    command.add_argument("--network", choices=networks.NAMES, action="append")
    command.add_argument("--contender", choices=train.CONTENDERS, action="append")
    command.set_defaults(run=train.run)
    command = commands.add_parser("limit", help=limit.__doc__.splitlines()[0])
    command.add_argument("--rounds", type=int, default=3)
    command.add_argument("--network", choices=networks.NAMES, action="append")
    command.add_argument("--bf16", action="store_true")
    command.set_defaults(run=limit.run)
    command = commands.add_parser("growth", help=growth.__doc__.splitlines()[0])
    command.add_argument("--network", choices=networks.NAMES, action="append")
    command.set_defaults(run=growth.run)
    command = commands.add_parser("end", help=end_to_end.__doc__.splitlines()[0])
    command.add_argument("--setting", choices=end_to_end.SETTINGS, action="append")
    command.add_argument("--share", type=float, default=1.0, help="of the images")
    command.set_defaults(run=end_to_end.run)
    command = commands.add_parser("files", help=files.__doc__.splitlines()[0])
    command.add_argument("--rounds", type=int, default=5)
    command.add_argument("--network", choices=files.SIZES, action="append")
    command.add_argument("--format", choices=files.FORMATS, action="append")
    command.add_argument("--part", choices=files.PARTS, action="append")
    command.add_argument("--writer", choices=files.WRITERS, action="append")
    command.add_argument("--models", help="folder where the models are kept for the next run")
    command.set_defaults(run=files.run)
    command = commands.add_parser("predict", help=predict.__doc__.splitlines()[0])
    command.add_argument("--rounds", type=int, default=5)
    command.add_argument("--network", choices=networks.NAMES, action="append")
    command.add_argument("--contender", choices=predict.PEERS, action="append")
    command.add_argument("--bf16", action="store_true")
    command.set_defaults(run=predict.run)
    command = commands.add_parser("all", help="every benchmark, then the README's tables")
    command.add_argument("--part", action="append", help='one of its parts: "train --bf16"')
    command.set_defaults(run=run_all, check=False)
    command = commands.add_parser("tables", help=tables.__doc__.splitlines()[0])
    command.add_argument("--check", action="store_true",
                         help="write nothing, fail where they differ")  # fmt: skip
    command.set_defaults(run=tables.run)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
