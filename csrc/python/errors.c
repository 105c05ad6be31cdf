#include <string.h>

#include "base/compute.h"
#include "state.h"

/* Which exception a status becomes; DecodeError is the one class of our own. */
static PyObject *exception_of(tl_py_state *state, tl_status code)
{
    PyObject *DecodeError = state->decode_error;
#define MemoryError PyExc_MemoryError
#define ValueError PyExc_ValueError
#define NotImplementedError PyExc_NotImplementedError
#define OSError PyExc_OSError
#define RuntimeError PyExc_RuntimeError
#define KeyboardInterrupt PyExc_KeyboardInterrupt
    switch (code) {
#define X(code, exception)                                                                        \
    case TL_##code:                                                                               \
        return exception;
#include "base/status.def"
#undef X
        case TL_OK:
        case TL_STATUS_COUNT:
            break;
    }
    return PyExc_SystemError;
}

PyObject *tl_py_raise(tl_py_state *state, const tl_error *err)
{
    if (err->code == TL_CANCELLED && PyErr_Occurred())
        return NULL;
    PyObject *exception = exception_of(state, err->code);
    PyObject *text =
        PyUnicode_DecodeUTF8(err->text, (Py_ssize_t)strlen(err->text), "backslashreplace");
    if (text == NULL)
        return NULL;
    if (err->code == TL_IO && err->os_errno != 0) {
        PyObject *args = Py_BuildValue("(iN)", err->os_errno, text);
        if (args != NULL) {
            PyErr_SetObject(exception, args);
            Py_DECREF(args);
        }
        return NULL;
    }
    PyErr_SetObject(exception, text);
    Py_DECREF(text);
    return NULL;
}

int tl_py_wait(bool (*wait)(void *job, int timeout_ms), void (*cancel)(void *job), void *job)
{
    bool interrupted = false;
    for (;;) {
        bool ended;
        Py_BEGIN_ALLOW_THREADS
        ended = wait(job, 50);
        Py_END_ALLOW_THREADS
        if (ended)
            return interrupted ? -1 : 0;
        if (!interrupted && PyErr_CheckSignals() != 0) {
            interrupted = true;
            cancel(job);
        }
    }
}

int tl_py_run_job(tl_py_state *state, tl_job *job)
{
    tl_error err = {0};
    if (tl_compute_submit(job, &err) != TL_OK) {
        tl_py_raise(state, &err);
        return -1;
    }
    if (tl_py_wait(tl_compute_wait, tl_compute_cancel, job) < 0)
        return -1;
    if (job->status != TL_OK) {
        tl_py_raise(state, &job->err);
        return -1;
    }
    return 0;
}

int tl_py_add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **slot)
{
    PyObject *type = PyType_FromModuleAndSpec(module, spec, NULL);
    if (type == NULL)
        return -1;
    *slot = (PyTypeObject *)type; /* the module state owns this reference */
    return PyModule_AddType(module, *slot);
}
