/* The object behind tlfast._core.Plan, for the files that implement its methods. */
#ifndef TL_PYTHON_PY_PLAN_H
#define TL_PYTHON_PY_PLAN_H

#include "state.h"

#include <sys/types.h>

#include "plan/plan.h"
#include "train/trainer.h"

typedef struct tl_py_plan {
    PyObject_HEAD tl_plan *plan; /* owned */
    PyObject *graph;             /* keeps the graph alive */
    int n_feeds, n_outputs, n_losses, n_trainable;
    int *feeds, *outputs; /* values of the graph; owned */
    tl_loss *losses;      /* owned */
    bool has_optimizer;
    tl_optimizer optimizer;
    tl_update *updates; /* owned, n_trainable; slot variables retained */
    pid_t busy; /* guarded by the GIL: the process that runs it; a second caller gets an error. In
                   the child of a fork nobody runs what a thread of the parent was running. */
} tl_py_plan;

/* True with RuntimeError while another call runs. */
bool tl_py_plan_is_busy(const tl_py_plan *self);

/* py_plan_run.c */
PyObject *tl_py_plan_forward(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *tl_py_plan_evaluate(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *tl_py_plan_train(PyObject *self, PyObject *args, PyObject *kwargs);

/* py_profile.c: what it does and how long that takes */
PyObject *tl_py_plan_steps(PyObject *self, PyObject *unused);
PyObject *tl_py_plan_measure(PyObject *self, PyObject *on);
PyObject *tl_py_plan_profile(PyObject *self, PyObject *unused);

#endif
