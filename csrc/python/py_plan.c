/* The type tlfast._core.Plan: how one is made, what it is told and asked; py_plan_run.c runs it.
 */
#include "py_plan.h"

#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/compute.h"
#include "state.h"

bool tl_py_plan_is_busy(const tl_py_plan *self)
{
    if (self->busy == 0 || self->busy != getpid())
        return false;
    PyErr_SetString(PyExc_RuntimeError, "this model is running in another thread");
    return true;
}

/* ---- reading Python values ---- */

static int read_values(PyObject *tuple, const tl_graph *graph, int **out)
{
    int n = (int)PyTuple_Size(tuple);
    tl_error err = {0};
    if (tl_calloc((void **)out, (size_t)n, sizeof(int), "a list", &err) != TL_OK) {
        PyErr_NoMemory();
        return -1;
    }
    for (int i = 0; i < n; i++) {
        long v = PyLong_AsLong(PyTuple_GetItem(tuple, i));
        if (v == -1 && PyErr_Occurred())
            return -1;
        if (v < 0 || v >= graph->n_nodes) {
            PyErr_Format(PyExc_ValueError, "value %ld is not in the graph", v);
            return -1;
        }
        (*out)[i] = (int)v;
    }
    return n;
}

static float float_item(PyObject *dict, const char *key, float otherwise)
{
    PyObject *value = PyDict_GetItemString(dict, key);
    return value == NULL || value == Py_None ? otherwise : (float)PyFloat_AsDouble(value);
}

static bool bool_item(PyObject *dict, const char *key)
{
    PyObject *value = PyDict_GetItemString(dict, key);
    return value != NULL && PyObject_IsTrue(value) == 1;
}

static const char *kind_item(PyObject *dict)
{
    PyObject *value = PyDict_Check(dict) ? PyDict_GetItemString(dict, "kind") : NULL;
    if (value == NULL || !PyUnicode_Check(value)) {
        PyErr_SetString(PyExc_TypeError, "expected a dict with a 'kind'");
        return NULL;
    }
    return PyUnicode_AsUTF8AndSize(value, NULL);
}

static int read_loss(PyObject *dict, tl_loss *loss)
{
    const char *kind = kind_item(dict);
    if (kind == NULL)
        return -1;
    for (int i = 0; i < TL_LOSS_COUNT; i++)
        if (strcmp(kind, tl_loss_name((tl_loss_kind)i)) == 0) {
            *loss = (tl_loss){
                .kind = (tl_loss_kind)i,
                .from_logits = bool_item(dict, "from_logits"),
                .label_smoothing = float_item(dict, "label_smoothing", 0.f),
                .weight = float_item(dict, "weight", 1.f),
                .delta = float_item(dict, "delta", 1.f),
                .alpha = float_item(dict, "alpha", .25f),
                .gamma = float_item(dict, "gamma", 2.f),
                .balanced = bool_item(dict, "apply_class_balancing"),
            };
            return PyErr_Occurred() ? -1 : 0;
        }
    PyErr_Format(PyExc_NotImplementedError, "training with the loss '%s' is not available", kind);
    return -1;
}

static int read_optimizer(PyObject *dict, tl_optimizer *o)
{
    const char *kind = kind_item(dict);
    if (kind == NULL)
        return -1;
    *o = (tl_optimizer){
        .kind = strcmp(kind, "sgd") == 0       ? TL_SGD
                : strcmp(kind, "rmsprop") == 0 ? TL_RMSPROP
                                               : TL_ADAM,
        .momentum = float_item(dict, "momentum", 0.f),
        .nesterov = bool_item(dict, "nesterov"),
        .beta_1 = float_item(dict, "beta_1", .9f),
        .beta_2 = float_item(dict, "beta_2", .999f),
        .epsilon = float_item(dict, "epsilon", 1e-7f),
        .amsgrad = bool_item(dict, "amsgrad"),
        .rho = float_item(dict, "rho", .9f),
        .centered = bool_item(dict, "centered"),
        .weight_decay = float_item(dict, "weight_decay", 0.f),
        .clipnorm = float_item(dict, "clipnorm", 0.f),
        .clipvalue = float_item(dict, "clipvalue", 0.f),
        .global_clipnorm = float_item(dict, "global_clipnorm", 0.f),
    };
    if (o->kind == TL_ADAM && strcmp(kind, "adam") != 0 && strcmp(kind, "adamw") != 0) {
        PyErr_Format(PyExc_NotImplementedError, "the optimizer '%s' is not available", kind);
        return -1;
    }
    return PyErr_Occurred() ? -1 : 0;
}

/* ---- creation ---- */

struct create_args {
    tl_plan **out;
    tl_plan_spec spec;
};

static tl_status create_job(void *arg, tl_error *err)
{
    struct create_args *args = arg;
    return tl_plan_create(args->out, &args->spec, err);
}

static int read_trainable(tl_py_state *state, PyObject *list, tl_variable ***out)
{
    int n = (int)PyTuple_Size(list);
    tl_error err = {0};
    if (tl_calloc((void **)out, (size_t)n, sizeof **out, "a list", &err) != TL_OK) {
        PyErr_NoMemory();
        return -1;
    }
    for (int i = 0; i < n; i++)
        if (((*out)[i] = tl_py_variable(state, PyTuple_GetItem(list, i))) == NULL)
            return -1;
    return n;
}

/* Reads the losses and the values they are computed from. */
static int read_losses(tl_py_plan *self, PyObject *list, const tl_graph *graph, int *seeds)
{
    for (int i = 0; i < self->n_losses; i++) {
        tl_loss *loss = &self->losses[i];
        if (read_loss(PyTuple_GetItem(list, i), loss) < 0)
            return -1;
        seeds[i] = tl_loss_source(graph, self->outputs[i], loss->kind, &loss->from_logits);
    }
    return 0;
}

static int create_plan(tl_py_plan *self, tl_py_state *state, const tl_graph *graph, tl_pool *pool,
                       PyObject *feed_list, PyObject *output_list, PyObject *trainable_list,
                       PyObject *loss_list, Py_ssize_t repeat_from)
{
    int *seeds = NULL, done = -1;
    tl_variable **trainable = NULL;
    tl_error err = {0};
    self->n_losses = (int)PyTuple_Size(loss_list);
    if ((self->n_feeds = read_values(feed_list, graph, &self->feeds)) < 0 ||
        (self->n_outputs = read_values(output_list, graph, &self->outputs)) < 0 ||
        (self->n_trainable = read_trainable(state, trainable_list, &trainable)) < 0)
        goto fail;
    if (self->n_losses > self->n_outputs) {
        PyErr_SetString(PyExc_ValueError, "more losses than outputs");
        goto fail;
    }
    size_t n = (size_t)self->n_losses;
    if (tl_calloc((void **)&seeds, n, sizeof *seeds, "a list", &err) != TL_OK ||
        tl_calloc((void **)&self->losses, n, sizeof *self->losses, "losses", &err) != TL_OK ||
        tl_calloc((void **)&self->updates, (size_t)self->n_trainable, sizeof *self->updates,
                  "updates", &err) != TL_OK) {
        PyErr_NoMemory();
        goto fail;
    }
    if (read_losses(self, loss_list, graph, seeds) < 0)
        goto fail;
    struct create_args args = {
        &self->plan,
        {graph, self->n_feeds, self->feeds, self->n_outputs, self->outputs, pool,
         self->n_trainable, trainable, self->n_losses, seeds, (size_t)repeat_from}};
    tl_job job = {.run = create_job, .arg = &args};
    done = tl_py_run_job(state, &job);
fail:
    tl_free(seeds);
    tl_free(trainable);
    return done;
}

static PyObject *plan_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"graph",     "feeds",  "outputs",     "pool",
                            "trainable", "losses", "repeat_from", NULL};
    tl_py_state *state = tl_py_type_state(type);
    PyObject *graph, *feeds, *outputs, *pool, *trainable = NULL, *losses = NULL;
    PyObject *empty = PyTuple_New(0);
    if (empty == NULL)
        return NULL;
    trainable = losses = empty;
    Py_ssize_t repeat_from = (Py_ssize_t)1 << 20; /* smaller results are not worth a step */
    if (!PyArg_ParseTupleAndKeywords(
            args, kwargs, "OO!O!O|O!O!n:Plan", names, &graph, &PyTuple_Type, &feeds, &PyTuple_Type,
            &outputs, &pool, &PyTuple_Type, &trainable, &PyTuple_Type, &losses, &repeat_from)) {
        Py_DECREF(empty);
        return NULL;
    }
    tl_graph *core_graph = tl_py_graph(state, graph);
    tl_pool *core_pool = core_graph != NULL ? tl_py_pool(state, pool) : NULL;
    tl_py_plan *self = core_pool != NULL ? (tl_py_plan *)PyType_GenericAlloc(type, 0) : NULL;
    if (self != NULL) {
        self->graph = Py_NewRef(graph);
        if (create_plan(self, state, core_graph, core_pool, feeds, outputs, trainable, losses,
                        repeat_from) < 0)
            Py_CLEAR(self);
    }
    Py_DECREF(empty);
    return (PyObject *)self;
}

static void release_updates(tl_py_plan *self)
{
    for (int i = 0; self->updates != NULL && i < self->n_trainable; i++) {
        tl_update *u = &self->updates[i];
        if (u->variable != NULL)
            tl_variable_remove_writer(u->variable);
        u->variable = NULL;
        for (int k = 0; k < TL_MAX_SLOTS; k++) {
            tl_variable_release(u->slots[k]);
            u->slots[k] = NULL;
        }
    }
}

static void plan_dealloc(PyObject *self)
{
    tl_py_plan *plan = (tl_py_plan *)self;
    PyTypeObject *type = Py_TYPE(self);
    release_updates(plan);
    /* Not running: the caller of a running plan holds a reference. */
    tl_plan_destroy(plan->plan);
    tl_free(plan->feeds);
    tl_free(plan->outputs);
    tl_free(plan->losses);
    tl_free(plan->updates);
    Py_XDECREF(plan->graph);
    PyObject_Free(self);
    Py_DECREF(type);
}

/* Which slots an optimizer uses, in the order of tl_update. */
static bool uses_slot(const tl_optimizer *o, int k)
{
    if (o->kind == TL_SGD)
        return k == 0 && o->momentum != 0.f;
    if (o->kind == TL_ADAM)
        return k < 2 || o->amsgrad;
    return k == 0 || (k == 1 ? o->momentum > 0.f : o->centered);
}

/* One (variable, slots, decays, l1, l2[, rate]) into update i. */
static int read_update(tl_py_plan *self, tl_py_state *state, PyObject *tuple, int i)
{
    PyObject *variable, *slots;
    int decays;
    tl_update *u = &self->updates[i];
    u->rate = 1.f;
    if (!PyArg_ParseTuple(tuple, "OO!pff|f:update", &variable, &PyTuple_Type, &slots, &decays,
                          &u->l1, &u->l2, &u->rate))
        return -1;
    tl_variable *trained = tl_py_variable(state, variable);
    if (trained == NULL)
        return -1;
    if (trained != tl_plan_trainable(self->plan, i)) {
        PyErr_Format(PyExc_ValueError,
                     "update %d is for another variable than the plan trains there", i);
        return -1;
    }
    u->variable = trained; /* the plan holds it */
    tl_variable_add_writer(trained);
    u->decays = decays && self->optimizer.weight_decay != 0.f;
    u->gradient = tl_plan_gradient(self->plan, i);
    for (int k = 0; k < TL_MAX_SLOTS; k++) {
        PyObject *slot = k < PyTuple_Size(slots) ? PyTuple_GetItem(slots, k) : Py_None;
        if (slot != Py_None) {
            if ((u->slots[k] = tl_py_variable(state, slot)) == NULL)
                return -1;
            tl_variable_retain(u->slots[k]);
        }
        if (uses_slot(&self->optimizer, k) &&
            (u->slots[k] == NULL || u->slots[k]->size != u->variable->size)) {
            PyErr_Format(PyExc_ValueError,
                         "update %d: slot %d is missing or has another size than its variable", i,
                         k);
            return -1;
        }
    }
    return 0;
}

/* set_optimizer(spec, [(variable, slots, decays, l1, l2[, rate]), ...]) in the order
 * of `trainable`. */
static PyObject *plan_set_optimizer(PyObject *object, PyObject *args)
{
    tl_py_plan *self = (tl_py_plan *)object;
    tl_py_state *state = tl_py_type_state(Py_TYPE(object));
    PyObject *spec, *list;
    if (!PyArg_ParseTuple(args, "O!O!:set_optimizer", &PyDict_Type, &spec, &PyTuple_Type, &list))
        return NULL;
    if (PyTuple_Size(list) != self->n_trainable) {
        PyErr_Format(PyExc_ValueError, "updates for %zd variables, the plan trains %d",
                     PyTuple_Size(list), self->n_trainable);
        return NULL;
    }
    if (tl_py_plan_is_busy(self))
        return NULL;
    self->has_optimizer = false;
    if (read_optimizer(spec, &self->optimizer) < 0)
        return NULL;
    release_updates(self);
    for (int i = 0; i < self->n_trainable; i++)
        if (read_update(self, state, PyTuple_GetItem(list, i), i) < 0)
            return NULL;
    self->has_optimizer = true;
    Py_RETURN_NONE;
}

/* gradients() -> list of arrays or None: what the last training step's update used. */
static PyObject *plan_gradients(PyObject *object, PyObject *unused)
{
    (void)unused;
    tl_py_plan *self = (tl_py_plan *)object;
    if (tl_py_plan_is_busy(self))
        return NULL;
    PyObject *list = PyList_New(self->n_trainable);
    for (int i = 0; list != NULL && i < self->n_trainable; i++) {
        const tl_variable *v = self->updates[i].variable;
        const float *g = tl_plan_gradient(self->plan, i);
        if (v == NULL || g == NULL) {
            PyList_SetItem(list, i, Py_NewRef(Py_None));
            continue;
        }
        npy_intp dims[TL_MAX_RANK];
        for (int k = 0; k < v->rank; k++)
            dims[k] = v->dims[k];
        PyObject *array = PyArray_SimpleNew(v->rank, dims, NPY_FLOAT32);
        if (array == NULL) {
            Py_DECREF(list);
            return NULL;
        }
        memcpy(PyArray_DATA((PyArrayObject *)array), g, v->size * sizeof(float));
        PyList_SetItem(list, i, array);
    }
    return list;
}

static PyObject *plan_arena_bytes(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromSize_t(tl_plan_arena_bytes(((tl_py_plan *)self)->plan));
}

static PyObject *plan_gradient_bytes(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromSize_t(tl_plan_gradient_bytes(((tl_py_plan *)self)->plan));
}

#define KEYWORDS(f) (PyCFunction)(void (*)(void))(f), METH_VARARGS | METH_KEYWORDS

static PyMethodDef plan_methods[] = {
    {"set_optimizer", plan_set_optimizer, METH_VARARGS,
     "set_optimizer($self, spec, updates, /)\n--\n\nHow train updates the variables."},
    {"forward", KEYWORDS(tl_py_plan_forward),
     "forward($self, feeds, seed=0)\n--\n\nThe outputs as a list of arrays."},
    {"evaluate", KEYWORDS(tl_py_plan_evaluate),
     "evaluate($self, feeds, targets, weights=None, seed=0)\n--\n\n(losses, outputs)."},
    {"train", KEYWORDS(tl_py_plan_train),
     "train($self, feeds, targets, weights=None, learning_rate=0.0, iteration=0, seed=0, "
     "counter=None, dry=False)\n--\n\n"
     "One whole training step; (losses, outputs). A dry one computes gradients and writes "
     "nothing."},
    {"gradients", plan_gradients, METH_NOARGS,
     "gradients($self)\n--\n\nGradients of the last training step, as the update used them."},
    {"steps", tl_py_plan_steps, METH_NOARGS,
     "steps($self)\n--\n\n(layer, op, bytes of the result) in order of execution."},
    {"measure", tl_py_plan_measure, METH_O,
     "measure($self, on, /)\n--\n\nStart to time every step, from zero; or stop."},
    {"profile", tl_py_plan_profile, METH_NOARGS,
     "profile($self)\n--\n\nOne dict per step: time, work, and what computes it."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef plan_getset[] = {
    {"arena_bytes", plan_arena_bytes, NULL,
     "Bytes of activations, their gradients and scratch, shared by the plans of a pool.", NULL},
    {"gradient_bytes", plan_gradient_bytes, NULL, "Bytes of the gradients of weights.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot plan_slots[] = {
    {Py_tp_doc,
     "Plan(graph, feeds, outputs, pool, trainable=(), losses=(), repeat_from=1048576)\n--\n\n"
     "A graph made ready to run. Backward makes cheap results of `repeat_from` bytes and more "
     "again."},
    {Py_tp_new, plan_new},
    {Py_tp_dealloc, plan_dealloc},
    {Py_tp_methods, plan_methods},
    {Py_tp_getset, plan_getset},
    {0, NULL},
};

static PyType_Spec plan_spec = {
    .name = "tlfast._core.Plan",
    .basicsize = sizeof(tl_py_plan),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = plan_slots,
};

int tl_py_add_plan(PyObject *module, tl_py_state *state)
{
    return tl_py_add_type(module, &plan_spec, &state->plan_type);
}
