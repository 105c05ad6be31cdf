"""Plants bugs, one at a time, in a copy of the sources and sees whether the tests notice:

    python tests/plant_bugs.py [-k PART_OF_A_NAME]

Each bug is one textual replacement in one C file. The copy is built with the ordinary setup.py, so
the environment has to be able to build tlfast. Ends with the list of bugs that no test noticed;
a replacement whose text is gone from the sources is an error: then this file needs an update.
Not collected by pytest.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OPS, PLAN, STEP = "test_ops.py", "test_plan.py", "test_train_step.py"
JOINED = "test_joined_steps.py"

BUGS = {  # name: (file, text, text with the bug, test file that is to fail)
    "padding on the wrong side": (
        "ops/conv.c", "{a->pads[0], a->pads[2]},", "{a->pads[1], a->pads[3]},", OPS),
    "kernel turned by 90 degrees": (
        "ops/pack.c", "dnnl_dims_t strides = {1, out, kw * in * out, in * out};",
        "dnnl_dims_t strides = {1, out, in * out, kh * in * out};", OPS),
    "depthwise multiplier and channel exchanged": (
        "ops/pack.c", "strides = {out, 1, 1, kw * in * out, in * out}",
        "strides = {1, in, 1, kw * in * out, in * out}", OPS),
    "bias gradient only with the kernel's": (
        "ops/conv.c", "return step->wants_diff_weights[0] || step->wants_diff_weights[1];",
        "return step->wants_diff_weights[0];", PLAN),
    "unbiased variance": (
        "ops/norm.c", "v = squares[k] / count - d * d;",
        "v = (squares[k] / count - d * d) * count / (count - 1);", OPS),
    "momentum on the wrong side": (
        "ops/norm.c", "*mean = *mean * keep + used_mean(step)[c] * (1.f - keep);",
        "*mean = *mean * (1.f - keep) + used_mean(step)[c] * keep;", STEP),
    "padding counts in average pooling": (
        "ops/pool.c", "dnnl_pooling_avg_exclude_padding", "dnnl_pooling_avg_include_padding", OPS),
    "global maximum gives everything to everyone": (
        "ops/global_pool.c", "diff[pooled + k] / (float)equal;", "diff[pooled + k];", OPS),
    "a gradient written over another that is still to be read": (
        "plan/plan.c", "tl_plan_producer(plan, other) < i)",
        "tl_plan_producer(plan, other) < i - plan->n_steps)", PLAN),
    "overlapping windows give from the wrong cell": (
        "kernels/pool_bf16.c", "columns.at + c) * TL_POOL_WIDTH;",
        "columns.at + columns.first) * TL_POOL_WIDTH;", "test_bfloat16.py"),
    "gradient of the subtrahend not negated": (
        "ops/merge.c", "return i == 0 ? dy : -dy;", "return dy;", OPS),
    "all equal maxima get the gradient": (
        "ops/merge.c", "            return true;\n", "            return false;\n", OPS),
    "concat forgets an offset": (
        "ops/merge.c", "*offset += step->src[k]->dims[t->rank - 1] * per;",
        "*offset = step->src[k]->dims[t->rank - 1] * per;", OPS),
    "dropout without its scale": (
        "ops/dropout.c", "? value * keep", "? value", OPS),
    "dropout's mask by place in memory": (
        "ops/dropout.c", "kept = keeps(a, run, first + i);",
        "kept = keeps(a, run, r * c.stride + i);", STEP),
    "another dropout mask in every pass": (
        "ops/dropout.c", "apply(step, run, step->dst->diff,",
        "apply(step, &(tl_run){.seed = run->seed + 1}, step->dst->diff,", OPS),
    "rotation in the other sense": (
        "ops/pixels.c", "t.m[0] = c * zw, t.m[1] = -s * zh;\n    t.m[3] = s * zw,",
        "t.m[0] = c * zw, t.m[1] = s * zh;\n    t.m[3] = -s * zw,", OPS),
    "reversed channels straight in backward": (
        "ops/pixels.c", "to[r * n + source_channel(a, c, n)] =", "to[r * n + c] =", OPS),
    "softmax gradient without its sum": (
        "ops/activation.c", "dx[i] = (float)(y[i] * (dy[i] - dot));",
        "dx[i] = (float)(y[i] * dy[i]);", OPS),
    "bias of the last columns left out": (
        "kernels/dense_body.h", "dst[r * units + u] += bias[u];",
        "dst[r * units + u] += u1 == units ? 0.f : bias[u];", OPS),
    "gradients of two readers not added": (
        "plan/plan.c", "tl_tensor_add(step->src[k]->diff, step->src[k]->diff, step->diff_src[k]);",
        "tl_tensor_add(step->src[k]->diff, step->diff_src[k], step->diff_src[k]);", PLAN),
    "a product's gradient overwritten before the pool reads it": (
        "plan/excite.c", "(tl_tensor_root(step->diff_src[k]) == dy ||", "(false &&", JOINED),
    "a product's gradient not kept for the pool": (
        "plan/memory.c", "touch(step->product->dst->diff, back);", ";", JOINED),
    "a pool forgets what other readers wrote": (
        "ops/global_pool.c", "step->accumulate[0] ? out : NULL", "NULL", JOINED),
    "a pool joins a product that others came before": (
        "plan/excite.c", " || step->accumulate[0])", ")", JOINED),
    "slope of swish behind a norm without the norm's map": (
        "kernels/norm_body.h", ": v * scale + shift;", ": v;", JOINED),
    "a residual's gradient not clipped": (
        "kernels/norm_body.h", "STORE(dr + p * stride + k, dz);",
        "STORE(dr + p * stride + k, LOAD(dy + p * stride + k));", JOINED),
    "the result of a norm with a residual not kept": (
        "ops/norm.c", "(k == TL_DST && residual_of(step) != NULL)", "false", JOINED),
    "a residual added where the norm alone is frozen": (
        "plan/steps.c", "plan->needs_gradient[norm] != plan->needs_gradient[last]", "false",
        JOINED),
    "two gradients written over that of one result": (
        "plan/plan.c", "overwrites_diff && same_shape(src, step->dst) && may_overwrite(plan, i))",
        "overwrites_diff && same_shape(src, step->dst))", JOINED),
    "zero padding into every max pool": (
        "plan/rewrite.c", "node->kind == TL_OP_max_pool2d && is_non_negative(plan, pad->src[0])",
        "node->kind == TL_OP_max_pool2d", PLAN),
    "residual overwritten while it is needed": (
        "plan/steps.c", "(v != sum && v >= node)", "(v != sum && v > node)", PLAN),
    "outputs not kept to the end": (
        "plan/memory.c", "touch(plan->outputs[i], end);", "(void)end;", PLAN),
    "sources of backward not kept": (
        "plan/memory.c", "if (step->training && tl_backward_reads_src(step, k))", "if (false)",
        PLAN),
    "sources of a repeat not kept": (
        "plan/memory.c", "touch(step->src[k], time);", "(void)time;", PLAN),
    "repeats before their sources": (
        "plan/plan.c", "for (int r = plan->n_repeats - 1; r >= 0; r--)",
        "for (int r = 0; r < plan->n_repeats; r++)", PLAN),
    "a join adds to what nobody wrote": (
        "ops/merge.c", "step->accumulate[i] ? ADD_WHOLE_TO_PART : WHOLE_TO_PART",
        "ADD_WHOLE_TO_PART", PLAN),
    "a join forgets what was added before": (
        "ops/merge.c", "step->accumulate[i] ? ADD_WHOLE_TO_PART : WHOLE_TO_PART",
        "WHOLE_TO_PART", PLAN),
    "a trained kernel packed once": (
        "ops/conv_kernel.c", "    if (kernel->pack != NULL)\n        return TL_OK;\n",
        "    static int runs;\n    if (kernel->pack != NULL || runs++ > 3)\n"
        "        return TL_OK;\n", PLAN),
    "work memory of backward given away": (
        "plan/memory.c", "touch(work[TL_WORK_BACKWARD], back);",
        "touch(work[TL_WORK_BACKWARD], i);", PLAN),
    "discarded packs taken for good": (
        "ops/pack.c", "pack->version = 0;", ";", PLAN),
    "Winograd's gradient padded like forward": (
        "ops/winograd.c", "2 - pads[0],", "pads[0],", "test_winograd.py"),
    "Winograd's gradient with the kernel not turned": (
        "kernels/winograd.c", "kernel + 8 * c * k + y * k, -c * k,", "kernel + y * k, c * k,",
        "test_winograd.py"),
    "Winograd's kernel gradient of the last pass alone": (
        "ops/winograd.c", "job * c * panel, n, c, adds);", "job * c * panel, n, c, false);",
        "test_winograd.py"),
    "columns that no window reads keep what the memory held": (
        "ops/conv.c", "memset(to + read, 0, row - read);", "", "test_conv_windows.py"),
    "Winograd's kernel gradient without its last part": (
        "kernels/winograd_body.h", "for (int64_t j = 1; j < n_parts; j++)",
        "for (int64_t j = 2; j < n_parts; j++)", "test_winograd.py"),
    "a bias' gradient from another product": (
        "kernels/winograd.h", "#define TL_WINOGRAD_SUMS 7", "#define TL_WINOGRAD_SUMS 8",
        "test_winograd.py"),
    "the table of algorithms turned round": (
        "ops/algorithms.c", "wanted->winograd = e->winograd;", "wanted->winograd = !e->winograd;",
        "test_algorithms.py"),
    "batch norm folded without epsilon": (
        "ops/pack.c", "sqrt((double)pack->norm[TL_VARIANCE]->data[c] + pack->epsilon)",
        "sqrt((double)pack->norm[TL_VARIANCE]->data[c])", PLAN),
    "packed weights stay old": (
        "ops/pack.c", "    for (int i = 0; i < 4; i++)\n        if (pack->norm[i] != NULL)\n"
        "            version +=", "    for (int i = 0; i < 0; i++)\n"
        "        if (pack->norm[i] != NULL)\n            version +=", PLAN),
    "second loss on a value replaces the first": (
        "train/loss.c", "diff[c] += (float)(scale / (double)n * slope);",
        "diff[c] = (float)(scale / (double)n * slope);", PLAN),
    "label smoothing of the wrong share": (
        "train/loss.c", "return y * (1 - s) + s / (double)n;", "return y * (1 - s) + s;", STEP),
    "sample weights divide by their sum": (
        "train/loss.c", "*total += sum / (double)rows;",
        "*total += sum / (sample_weight ? rows + 1. : rows);", STEP),
    "adam's epsilon inside the root": (
        "train/optimizer.c", "/ (sqrtf(velocity) + o->epsilon)",
        "/ sqrtf(velocity + o->epsilon)", STEP),
    "weight decay after the update": (
        "train/optimizer.c", "w[i] -= w[i] * o->weight_decay * lr;",
        "w[i] -= w[i] * o->weight_decay;", STEP),
    "norms of each tensor for the global clip": (
        "train/optimizer.c", "all += squares;", "all = squares;", STEP),
    "nesterov without its look ahead": (
        "train/optimizer.c", "*w += o->nesterov ? *m * o->momentum - g * lr : *m;",
        "*w += *m;", STEP),
    "a fork does not wait": (
        "base/compute.c", "    pthread_mutex_lock(&gate);\n    atomic_fetch_sub",
        "    pthread_mutex_trylock(&gate);\n    atomic_fetch_sub", "test_threads.py"),
    "a cancelled step updates": (
        "train/trainer.c", "TL_TRY(tl_plan_backward(plan, err));",
        "(void)tl_plan_backward(plan, &(tl_error){0});", "test_threads.py"),
}


def copy_sources(top: Path) -> None:
    skip = shutil.ignore_patterns("*.so", "__pycache__", "build")
    for name in ("csrc", "tlfast", "tests"):
        shutil.copytree(ROOT / name, top / name, ignore=skip)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, top / name)


def build(top: Path) -> None:
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    done = subprocess.run(command, cwd=top, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"the sources do not build:\n{done.stdout}\n{done.stderr}")


def first_failure(top: Path, test: str) -> str | None:
    """Name of the first test that fails; None where all pass."""
    command = [sys.executable, "-m", "pytest", f"tests/{test}", "-q", "-x", "-p",
               "no:cacheprovider"]
    env = os.environ | {"PYTHONPATH": str(top), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=top, env=env, capture_output=True, text=True, timeout=900)
    if done.returncode == 0:
        return None
    failed = [line.split(" - ")[0].removeprefix("FAILED tests/")
              for line in done.stdout.splitlines() if line.startswith("FAILED")]
    return failed[0] if failed else f"pytest ended with {done.returncode}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-k", default="", help="only bugs whose name contains this")
    chosen = {name: bug for name, bug in BUGS.items() if parser.parse_args().k in name}
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        copy_sources(top)
        build(top)
        for test in sorted({bug[3] for bug in chosen.values()}):
            if failure := first_failure(top, test):
                sys.exit(f"without any bug planted, {failure} fails")
        for name, (file, text, planted, test) in chosen.items():
            path = top / "csrc" / file
            original = path.read_text()
            if original.count(text) != 1:
                sys.exit(f"{name}: {original.count(text)} times in csrc/{file}: {text!r}")
            path.write_text(original.replace(text, planted))
            build(top)
            found = first_failure(top, test)
            print(f"{'found ' if found else 'MISSED'}  {name}: {found or test}", flush=True)
            if not found:
                missed.append(name)
            path.write_text(original)
        build(top)
    print(f"{len(chosen) - len(missed)} found, {len(missed)} missed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
