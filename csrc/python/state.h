/* Module state and the helpers every file of the binding shares. Only csrc/python includes
 * Python.h; the core never sees it. */
#ifndef TL_PYTHON_STATE_H
#define TL_PYTHON_STATE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>

#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#define NPY_TARGET_VERSION NPY_2_0_API_VERSION
#define PY_ARRAY_UNIQUE_SYMBOL tl_numpy_api
#ifndef TL_PYTHON_MODULE
#define NO_IMPORT_ARRAY
#endif
#include <numpy/arrayobject.h>

#include "base/status.h"

typedef struct tl_py_state {
    PyObject *decode_error; /* tlfast._core.DecodeError(ValueError) */
    PyTypeObject *variable_type;
    PyTypeObject *graph_type;
    PyTypeObject *plan_type;
    PyTypeObject *pool_type;
    PyTypeObject *loader_type;
} tl_py_state;

tl_py_state *tl_py_get_state(PyObject *module);

/* The state behind an instance of one of our (final) types. */
tl_py_state *tl_py_type_state(PyTypeObject *type);

/* Sets the Python exception that belongs to err and returns NULL. TL_CANCELLED leaves an exception
 * that a signal handler has already set. */
PyObject *tl_py_raise(tl_py_state *state, const tl_error *err);

/* Waits for a job of the core: `wait` is called without the GIL with a timeout in ms and returns
 * true when the job has ended; signals are handled between the calls. On a pending exception
 * `cancel` is called (GIL held) and the wait goes on until the job has ended. Returns 0, or -1
 * with the exception set. */
int tl_py_wait(bool (*wait)(void *job, int timeout_ms), void (*cancel)(void *job), void *job);

/* Creates a heap type from spec, adds it to the module under its short name, keeps a reference in
 * *slot. Returns 0 or -1. */
int tl_py_add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **slot);

/* The same for a job that is already queued on the compute thread. Returns 0, or -1 with the
 * exception set (the job's error, or what a signal handler raised). */
struct tl_job;
int tl_py_run_job(tl_py_state *state, struct tl_job *job);

/* The core objects inside Python ones; NULL with TypeError when it is another type. */
struct tl_variable *tl_py_variable(tl_py_state *state, PyObject *object);
struct tl_graph *tl_py_graph(tl_py_state *state, PyObject *object);
struct tl_pool *tl_py_pool(tl_py_state *state, PyObject *object);

/* One of these per file of the binding; called from module exec. Return 0 or -1. */
int tl_py_add_variable(PyObject *module, tl_py_state *state);
int tl_py_add_graph(PyObject *module, tl_py_state *state);
int tl_py_add_plan(PyObject *module, tl_py_state *state);
int tl_py_add_runtime(PyObject *module, tl_py_state *state);
int tl_py_add_image(PyObject *module, tl_py_state *state);  /* py_image.c */
int tl_py_add_loader(PyObject *module, tl_py_state *state); /* py_loader.c */

#endif
