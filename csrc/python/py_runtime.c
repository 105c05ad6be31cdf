/* Functions of the module: opening oneDNN, threads, machine facts. */
#include "base/compute.h"
#include "base/dnn.h"
#include "base/os.h"
#include "kernels/kernels.h"
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
    int n = (int)PyLong_AsLong(arg);
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
    {"load", load, METH_O,
     "load(path, /)\n--\n\nOpen the oneDNN library at path; once per process."},
    {"num_threads", num_threads, METH_NOARGS, "num_threads()\n--\n\nThreads of the compute team."},
    {"set_num_threads", set_num_threads, METH_O,
     "set_num_threads(n, /)\n--\n\nSet the size of the compute team; 0 is the default."},
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
