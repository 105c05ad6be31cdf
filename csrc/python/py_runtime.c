/* Functions of the module: opening oneDNN, threads, machine facts. */
#include <string.h>

#include "base/alloc.h"
#include "base/compute.h"
#include "base/dnn.h"
#include "base/os.h"
#include "kernels/kernels.h"
#include "ops/algorithms.h"
#include "ops/winograd.h"
#include "state.h"

static PyObject *load(PyObject *module, PyObject *arg)
{
    PyObject *path = NULL;
    if (!PyUnicode_FSConverter(arg, &path))
        return NULL;
    tl_error err = {0};
    tl_status status = tl_dnn_load(PyBytes_AsString(path), &err);
    Py_DECREF(path);
    if (status != TL_OK)
        return tl_py_raise(tl_py_get_state(module), &err);
    Py_RETURN_NONE;
}

static PyObject *num_threads(PyObject *module, PyObject *unused)
{
    (void)unused;
    int n = 0;
    tl_error err = {0};
    tl_status status;
    Py_BEGIN_ALLOW_THREADS
    status = tl_compute_get_threads(&n, &err);
    Py_END_ALLOW_THREADS
    return status == TL_OK ? PyLong_FromLong(n) : tl_py_raise(tl_py_get_state(module), &err);
}

static PyObject *set_num_threads(PyObject *module, PyObject *arg)
{
    long n = PyLong_AsLong(arg);
    if (n == -1 && PyErr_Occurred())
        return NULL;
    tl_error err = {0};
    tl_status status;
    Py_BEGIN_ALLOW_THREADS
    status = tl_compute_set_threads(n, &err);
    Py_END_ALLOW_THREADS
    if (status != TL_OK)
        return tl_py_raise(tl_py_get_state(module), &err);
    Py_RETURN_NONE;
}

static tl_status measure_peak(void *arg, tl_error *err)
{
    (void)err;
    *(double *)arg = tl_peak_flops();
    return TL_OK;
}

static PyObject *peak_flops(PyObject *module, PyObject *unused)
{
    (void)unused;
    double flops = 0;
    tl_job job = {.run = measure_peak, .arg = &flops};
    return tl_py_run_job(tl_py_get_state(module), &job) == 0 ? PyFloat_FromDouble(flops) : NULL;
}

static PyObject *cpu_count(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    return PyLong_FromLong(tl_os_cpu_count());
}

static PyObject *memory_available(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    return PyLong_FromSize_t(tl_os_memory_available());
}

static PyObject *onednn_info(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    const dnnl_version_t *v = tl_dnn.version();
    return Py_BuildValue("{s:(iii),s:s,s:i,s:i}", "version", v->major, v->minor, v->patch, "hash",
                         v->hash, "cpu_runtime", (int)v->cpu_runtime, "isa",
                         (int)tl_dnn.get_effective_cpu_isa());
}

static PyObject *has_bfloat16(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    return PyBool_FromLong(tl_has_bf16());
}

static PyObject *set_winograd(PyObject *module, PyObject *arg)
{
    (void)module;
    int allowed = PyObject_IsTrue(arg);
    if (allowed < 0)
        return NULL;
    tl_winograd_allow(allowed == 1);
    Py_RETURN_NONE;
}

static PyObject *winograd(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    return PyBool_FromLong(tl_winograd_allowed());
}

/* In the order of tl_algorithm_use. */
static const char *const uses[TL_USE_COUNT] = {"inference", "forward", "backward_data",
                                               "backward_weights"};

/* One entry (use, type, height, width, in, out, winograd). */
static bool read_algorithm(PyObject *item, tl_algorithm *out)
{
    const char *use = NULL, *type = NULL;
    long long height, width, in, n_out;
    int winograd;
    if (!PyTuple_Check(item)) {
        PyErr_SetString(PyExc_TypeError, "set_algorithms: an entry is a tuple of seven");
        return false;
    }
    if (!PyArg_ParseTuple(item, "ssLLLLp", &use, &type, &height, &width, &in, &n_out, &winograd))
        return false;
    bool bf16 = strcmp(type, "bfloat16") == 0;
    if (!bf16 && strcmp(type, "float32") != 0) {
        PyErr_Format(PyExc_ValueError, "set_algorithms: '%s'; allowed: float32, bfloat16", type);
        return false;
    }
    for (int i = 0; i < TL_USE_COUNT; i++)
        if (strcmp(use, uses[i]) == 0) {
            *out = (tl_algorithm){
                i, bf16 ? TL_BF16 : TL_F32, height, width, in, n_out, winograd != 0};
            return true;
        }
    PyErr_Format(PyExc_ValueError,
                 "set_algorithms: '%s'; allowed: inference, forward, backward_data, "
                 "backward_weights",
                 use);
    return false;
}

static PyObject *set_algorithms(PyObject *module, PyObject *arg)
{
    PyObject *list = PySequence_List(arg);
    if (list == NULL)
        return NULL;
    tl_error err = {0};
    tl_algorithm *entries = NULL;
    Py_ssize_t n = PyList_Size(list);
    bool good = true;
    tl_status status =
        tl_calloc((void **)&entries, (size_t)n + 1, sizeof *entries, "algorithms", &err);
    for (Py_ssize_t i = 0; status == TL_OK && good && i < n; i++)
        good = read_algorithm(PyList_GetItem(list, i), &entries[i]);
    if (status == TL_OK && good)
        status = tl_algorithms_set(entries, (size_t)n, &err);
    tl_free(entries);
    Py_DECREF(list);
    if (!good)
        return NULL;
    if (status != TL_OK)
        return tl_py_raise(tl_py_get_state(module), &err);
    Py_RETURN_NONE;
}

static PyObject *trim_memory(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    tl_os_trim();
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"trim_memory", trim_memory, METH_NOARGS,
     "trim_memory()\n--\n\nGive unused pages of the heap back to the system."},
    {"winograd", winograd, METH_NOARGS,
     "winograd()\n--\n\nMay new plans use Winograd's algorithm?"},
    {"set_winograd", set_winograd, METH_O,
     "set_winograd(allowed, /)\n--\n\nAllow it, or keep all convolutions direct."},
    {"set_algorithms", set_algorithms, METH_O,
     "set_algorithms(entries, /)\n--\n\nReplace the table of measured choices: tuples (use, "
     "type, height, width, in, out, winograd)."},
    {"load", load, METH_O,
     "load(path, /)\n--\n\nOpen the oneDNN library at path; once per process."},
    {"num_threads", num_threads, METH_NOARGS, "num_threads()\n--\n\nThreads of the compute team."},
    {"set_num_threads", set_num_threads, METH_O,
     "set_num_threads(n, /)\n--\n\nSet the size of the compute team; 0 is the default."},
    {"peak_flops", peak_flops, METH_NOARGS,
     "peak_flops()\n--\n\nfloat32 operations per second of the team, in registers; measured."},
    {"cpu_count", cpu_count, METH_NOARGS,
     "cpu_count()\n--\n\nProcessors by affinity and cgroup quota."},
    {"memory_available", memory_available, METH_NOARGS,
     "memory_available()\n--\n\nBytes this process may still take."},
    {"onednn_info", onednn_info, METH_NOARGS,
     "onednn_info()\n--\n\nVersion, hash, CPU runtime, CPU ISA."},
    {"has_bfloat16", has_bfloat16, METH_NOARGS,
     "has_bfloat16()\n--\n\nDoes this machine compute in bfloat16 without emulating it?"},
    {NULL, NULL, 0, NULL},
};

int tl_py_add_runtime(PyObject *module, tl_py_state *state)
{
    (void)state;
    return PyModule_AddFunctions(module, functions);
}
