/* tlfast._core.Plan.steps, measure and profile. */
#include "py_plan.h"

static tl_plan *idle_plan(PyObject *object)
{
    const tl_py_plan *self = (tl_py_plan *)object;
    return tl_py_plan_is_busy(self) ? NULL : self->plan;
}

static const char *op_of(const tl_step *step)
{
    return step->node != NULL ? tl_op_name(step->node->kind) : "reorder";
}

/* steps() -> list of (layer, op, bytes of the result) in the order of execution. */
PyObject *tl_py_plan_steps(PyObject *self, PyObject *unused)
{
    (void)unused;
    const tl_plan *plan = idle_plan(self);
    PyObject *list = plan != NULL ? PyList_New(tl_plan_n_steps(plan)) : NULL;
    for (int i = 0; list != NULL && i < tl_plan_n_steps(plan); i++) {
        const tl_step *step = tl_plan_step(plan, i);
        PyObject *row =
            Py_BuildValue("(ssn)", step->name, op_of(step), (Py_ssize_t)step->dst->bytes);
        if (row == NULL)
            Py_CLEAR(list);
        else
            PyList_SetItem(list, i, row);
    }
    return list;
}

PyObject *tl_py_plan_measure(PyObject *self, PyObject *on)
{
    tl_plan *plan = idle_plan(self);
    int value = plan != NULL ? PyObject_IsTrue(on) : -1;
    tl_error err = {0};
    if (value < 0)
        return NULL;
    if (tl_plan_measure(plan, value == 1, &err) != TL_OK)
        return tl_py_raise(tl_py_type_state(Py_TYPE(self)), &err);
    Py_RETURN_NONE;
}

/* profile() -> list of dicts in the order of execution. */
PyObject *tl_py_plan_profile(PyObject *self, PyObject *unused)
{
    (void)unused;
    const tl_plan *plan = idle_plan(self);
    PyObject *list = plan != NULL ? PyList_New(tl_plan_n_steps(plan)) : NULL;
    for (int i = 0; list != NULL && i < tl_plan_n_steps(plan); i++) {
        const tl_step *step = tl_plan_step(plan, i);
        tl_profile p;
        tl_plan_profile(plan, i, &p);
        PyObject *row = Py_BuildValue(
            "{s:s,s:s,s:(zzz),s:(dd),s:(dd),s:n,s:L}", "layer", step->name, "op", op_of(step),
            "kernels", p.kernels.forward, p.kernels.backward_data, p.kernels.backward_weights,
            "seconds", p.seconds_forward, p.seconds_backward, "flops", p.flops_forward,
            p.flops_backward, "bytes", (Py_ssize_t)p.bytes, "runs", (long long)p.runs);
        if (row == NULL)
            Py_CLEAR(list);
        else
            PyList_SetItem(list, i, row);
    }
    return list;
}
