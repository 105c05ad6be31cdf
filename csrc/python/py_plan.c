/* tlfast._core.Plan: runs a graph. One call is one forward pass or one whole training step; the
 * GIL is released once, and signals are handled while the compute thread works. */
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/compute.h"
#include "plan/plan.h"
#include "state.h"
#include "train/trainer.h"

typedef struct {
    PyObject_HEAD tl_plan *plan; /* owned */
    PyObject *graph;             /* keeps the graph alive */
    PyObject *feeds;             /* tuple of value numbers */
    PyObject *outputs;
    tl_loss *losses; /* owned */
    int n_feeds, n_outputs, n_losses, n_trainable;
    bool has_optimizer;
    tl_optimizer optimizer;
    tl_update *updates; /* owned, n_trainable; slot variables retained */
    pid_t busy; /* guarded by the GIL: the process that runs it; a second caller gets an error. In
                   the child of a fork nobody runs what a thread of the parent was running. */
} plan_object;

static bool is_busy(const plan_object *self)
{
    if (self->busy == 0 || self->busy != getpid())
        return false;
    PyErr_SetString(PyExc_RuntimeError, "this model is running in another thread");
    return true;
}

tl_plan *tl_py_idle_plan(PyObject *object)
{
    plan_object *self = (plan_object *)object;
    return is_busy(self) ? NULL : self->plan;
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
static int read_losses(plan_object *self, PyObject *list, const tl_graph *graph,
                       const int *outputs, int *seeds)
{
    for (int i = 0; i < self->n_losses; i++) {
        tl_loss *loss = &self->losses[i];
        if (read_loss(PyTuple_GetItem(list, i), loss) < 0)
            return -1;
        seeds[i] = tl_loss_source(graph, outputs[i], loss->kind, &loss->from_logits);
    }
    return 0;
}

static int create_plan(plan_object *self, tl_py_state *state, const tl_graph *graph, tl_pool *pool,
                       PyObject *trainable_list, PyObject *loss_list, Py_ssize_t repeat_from)
{
    int *feeds = NULL, *outputs = NULL, *seeds = NULL, done = -1;
    tl_variable **trainable = NULL;
    tl_error err = {0};
    self->n_losses = (int)PyTuple_Size(loss_list);
    if ((self->n_feeds = read_values(self->feeds, graph, &feeds)) < 0 ||
        (self->n_outputs = read_values(self->outputs, graph, &outputs)) < 0 ||
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
    if (read_losses(self, loss_list, graph, outputs, seeds) < 0)
        goto fail;
    struct create_args args = {
        &self->plan,
        {graph, self->n_feeds, feeds, self->n_outputs, outputs, pool, self->n_trainable, trainable,
         self->n_losses, seeds, (size_t)repeat_from}};
    tl_job job = {.run = create_job, .arg = &args};
    done = tl_py_run_job(state, &job);
fail:
    tl_free(feeds);
    tl_free(outputs);
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
    plan_object *self = core_pool != NULL ? (plan_object *)PyType_GenericAlloc(type, 0) : NULL;
    if (self != NULL) {
        self->graph = Py_NewRef(graph);
        self->feeds = Py_NewRef(feeds);
        self->outputs = Py_NewRef(outputs);
        if (create_plan(self, state, core_graph, core_pool, trainable, losses, repeat_from) < 0)
            Py_CLEAR(self);
    }
    Py_DECREF(empty);
    return (PyObject *)self;
}

static void release_updates(plan_object *self)
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
    plan_object *plan = (plan_object *)self;
    PyTypeObject *type = Py_TYPE(self);
    release_updates(plan);
    /* Not running: the caller of a running plan holds a reference. */
    tl_plan_destroy(plan->plan);
    tl_free(plan->losses);
    tl_free(plan->updates);
    Py_XDECREF(plan->graph);
    Py_XDECREF(plan->feeds);
    Py_XDECREF(plan->outputs);
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
static int read_update(plan_object *self, tl_py_state *state, PyObject *tuple, int i)
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
    plan_object *self = (plan_object *)object;
    tl_py_state *state = tl_py_type_state(Py_TYPE(object));
    PyObject *spec, *list;
    if (!PyArg_ParseTuple(args, "O!O!:set_optimizer", &PyDict_Type, &spec, &PyTuple_Type, &list))
        return NULL;
    if (PyTuple_Size(list) != self->n_trainable) {
        PyErr_Format(PyExc_ValueError, "updates for %zd variables, the plan trains %d",
                     PyTuple_Size(list), self->n_trainable);
        return NULL;
    }
    if (is_busy(self))
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

/* ---- running ---- */

struct run_args {
    plan_object *self;
    tl_train_args train;
    bool update, dry; /* dry: gradients, but nothing is written */
};

static tl_status run_job(void *arg, tl_error *err)
{
    struct run_args *args = arg;
    plan_object *self = args->self;
    return tl_train_step(self->plan, self->losses,
                         args->train.targets != NULL ? self->n_losses : 0,
                         args->dry ? NULL : &self->optimizer, args->update ? self->updates : NULL,
                         self->n_trainable, &args->train, err);
}

/* Everything a call borrows from Python while the core runs. */
typedef struct call {
    int n_feeds, n_losses, n_outputs;
    PyObject **arrays; /* owned references: feeds, targets, weights, outputs */
    int n_arrays;
    tl_feed *feeds;
    const float **targets, **weights;
    float **outputs;
    double *losses;
} call;

static void call_clear(call *c)
{
    for (int i = 0; i < c->n_arrays; i++)
        Py_XDECREF(c->arrays[i]);
    void *lists[] = {c->arrays, c->feeds, c->targets, c->weights, c->outputs, c->losses};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        tl_free(lists[i]);
}

static int call_init(call *c, const plan_object *self)
{
    tl_error err = {0};
    size_t f = (size_t)self->n_feeds, l = (size_t)self->n_losses, o = (size_t)self->n_outputs;
    *c = (call){self->n_feeds, self->n_losses, self->n_outputs, NULL, 0, NULL, NULL, NULL, NULL,
                NULL};
    if (tl_calloc((void **)&c->arrays, f + 2 * l + o, sizeof(PyObject *), "a call", &err) ==
            TL_OK &&
        tl_calloc((void **)&c->feeds, f, sizeof *c->feeds, "a call", &err) == TL_OK &&
        tl_calloc((void **)&c->targets, l, sizeof *c->targets, "a call", &err) == TL_OK &&
        tl_calloc((void **)&c->weights, l, sizeof *c->weights, "a call", &err) == TL_OK &&
        tl_calloc((void **)&c->outputs, o, sizeof *c->outputs, "a call", &err) == TL_OK &&
        tl_calloc((void **)&c->losses, l, sizeof *c->losses, "a call", &err) == TL_OK)
        return 0;
    PyErr_NoMemory();
    return -1;
}

static int check_elements(PyArrayObject *array, int64_t expected, const char *what, int i)
{
    if ((int64_t)PyArray_SIZE(array) == expected)
        return 0;
    PyErr_Format(PyExc_ValueError, "%s %d has %zd elements, the plan needs %lld", what, i,
                 (Py_ssize_t)PyArray_SIZE(array), (long long)expected);
    return -1;
}

static PyArrayObject *keep_array(call *c, PyObject *object, int type)
{
    PyObject *array = PyArray_FROM_OTF(object, type, NPY_ARRAY_IN_ARRAY | NPY_ARRAY_FORCECAST);
    if (array != NULL)
        c->arrays[c->n_arrays++] = array;
    return (PyArrayObject *)array;
}

static int read_feeds(call *c, const plan_object *self, const tl_graph *graph, PyObject *list)
{
    if (!PyList_Check(list) || PyList_Size(list) != self->n_feeds) {
        PyErr_Format(PyExc_ValueError, "expected a list of %d arrays", self->n_feeds);
        return -1;
    }
    for (int i = 0; i < self->n_feeds; i++) {
        PyObject *item = PyList_GetItem(list, i);
        bool bytes = PyArray_Check(item) && PyArray_TYPE((PyArrayObject *)item) == NPY_UINT8;
        PyArrayObject *array = keep_array(c, item, bytes ? NPY_UINT8 : NPY_FLOAT32);
        const tl_value *v = &graph->values[PyLong_AsLong(PyTuple_GetItem(self->feeds, i))];
        if (array == NULL ||
            check_elements(array, tl_shape_size(v->rank, v->dims), "input", i) < 0)
            return -1;
        c->feeds[i] = (tl_feed){PyArray_DATA(array), bytes ? TL_U8 : TL_F32};
    }
    return 0;
}

static int make_outputs(call *c, const plan_object *self, const tl_graph *graph, PyObject *list)
{
    for (int i = 0; i < self->n_outputs; i++) {
        const tl_value *v = &graph->values[PyLong_AsLong(PyTuple_GetItem(self->outputs, i))];
        npy_intp dims[TL_MAX_RANK];
        for (int k = 0; k < v->rank; k++)
            dims[k] = v->dims[k];
        PyObject *array = PyArray_SimpleNew(v->rank, dims, NPY_FLOAT32);
        if (array == NULL)
            return -1;
        c->outputs[i] = PyArray_DATA((PyArrayObject *)array);
        PyList_SetItem(list, i, array); /* takes the reference */
    }
    return 0;
}

/* Targets and sample weights, one entry per loss; weights may be None, as may its entries. */
static int read_targets(call *c, const plan_object *self, PyObject *targets, PyObject *weights)
{
    if (!PyList_Check(targets) || PyList_Size(targets) != self->n_losses ||
        (weights != Py_None &&
         (!PyList_Check(weights) || PyList_Size(weights) != self->n_losses))) {
        PyErr_Format(PyExc_ValueError, "expected lists of %d targets and weights", self->n_losses);
        return -1;
    }
    for (int i = 0; i < self->n_losses; i++) {
        int64_t rows, n;
        tl_plan_seed_shape(self->plan, i, &rows, &n);
        bool sparse = self->losses[i].kind == TL_LOSS_sparse_categorical_crossentropy;
        PyArrayObject *y = keep_array(c, PyList_GetItem(targets, i), NPY_FLOAT32);
        if (y == NULL || check_elements(y, sparse ? rows : rows * n, "target", i) < 0)
            return -1;
        c->targets[i] = PyArray_DATA(y);
        PyObject *w = weights == Py_None ? Py_None : PyList_GetItem(weights, i);
        if (w == Py_None)
            continue;
        PyArrayObject *array = keep_array(c, w, NPY_FLOAT32);
        if (array == NULL || check_elements(array, rows, "sample weight", i) < 0)
            return -1;
        c->weights[i] = PyArray_DATA(array);
    }
    return 0;
}

static PyObject *loss_list(const call *c)
{
    PyObject *list = PyList_New(c->n_losses);
    for (int i = 0; list != NULL && i < c->n_losses; i++)
        PyList_SetItem(list, i, PyFloat_FromDouble(c->losses[i]));
    return list;
}

/* Runs with the arrays read; returns the outputs, or (losses, outputs) with targets. */
static PyObject *run(plan_object *self, PyObject *feeds, PyObject *targets, PyObject *weights,
                     bool update, bool dry, unsigned long long seed, float learning_rate,
                     long long iteration, int64_t *counter)
{
    tl_py_state *state = tl_py_type_state(Py_TYPE((PyObject *)self));
    const tl_graph *graph = tl_py_graph(state, self->graph);
    PyObject *outputs = NULL, *result = NULL;
    call c;
    if (is_busy(self))
        return NULL;
    self->busy = getpid(); /* already here: other threads may run while arrays are converted */
    if (call_init(&c, self) < 0 || read_feeds(&c, self, graph, feeds) < 0 ||
        (targets != NULL && read_targets(&c, self, targets, weights) < 0) ||
        (outputs = PyList_New(self->n_outputs)) == NULL ||
        make_outputs(&c, self, graph, outputs) < 0)
        goto done;
    struct run_args args = {
        .self = self,
        .train = {.feeds = c.feeds,
                  .targets = targets != NULL ? c.targets : NULL,
                  .sample_weights = c.weights,
                  .outputs = c.outputs,
                  .seed = seed,
                  .learning_rate = learning_rate,
                  .iteration = iteration,
                  .losses = c.losses},
        .update = update,
        .dry = dry,
    };
    tl_job job = {.run = run_job, .arg = &args};
    int ran = tl_py_run_job(state, &job);
    /* Here, where no signal comes in between: an interrupted call may have done its update. */
    if (counter != NULL && job.done && job.status == TL_OK)
        *counter += 1;
    if (ran == 0)
        result =
            targets != NULL ? Py_BuildValue("(NO)", loss_list(&c), outputs) : Py_NewRef(outputs);
done:
    self->busy = 0;
    Py_XDECREF(outputs);
    call_clear(&c);
    return result;
}

static PyObject *plan_forward(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"feeds", "seed", NULL};
    PyObject *feeds;
    unsigned long long seed = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|K:forward", names, &feeds, &seed))
        return NULL;
    return run((plan_object *)self, feeds, NULL, NULL, false, false, seed, 0.f, 0, NULL);
}

static PyObject *plan_evaluate(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"feeds", "targets", "weights", "seed", NULL};
    PyObject *feeds, *targets, *weights = Py_None;
    unsigned long long seed = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|OK:evaluate", names, &feeds, &targets,
                                     &weights, &seed))
        return NULL;
    return run((plan_object *)self, feeds, targets, weights, false, false, seed, 0.f, 0, NULL);
}

static PyObject *plan_train(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"feeds",   "targets", "weights", "learning_rate", "iteration", "seed",
                            "counter", "dry",     NULL};
    plan_object *self = (plan_object *)object;
    PyObject *feeds, *targets, *weights = Py_None, *counter = Py_None;
    int64_t *count = NULL;
    unsigned long long seed = 0;
    float learning_rate = 0.f;
    long long iteration = 0;
    int dry = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|OfLKOp:train", names, &feeds, &targets,
                                     &weights, &learning_rate, &iteration, &seed, &counter, &dry))
        return NULL;
    if (counter != Py_None) {
        PyArrayObject *array = (PyArrayObject *)counter;
        if (!PyArray_Check(counter) || PyArray_TYPE(array) != NPY_INT64 ||
            PyArray_SIZE(array) != 1 || !PyArray_ISBEHAVED(array)) {
            PyErr_SetString(PyExc_TypeError, "counter must be an int64 array of one element");
            return NULL;
        }
        count = PyArray_DATA(array);
    }
    if (!self->has_optimizer) {
        PyErr_SetString(PyExc_RuntimeError, "set_optimizer was not called");
        return NULL;
    }
    return run(self, feeds, targets, weights, true, dry == 1, seed, learning_rate, iteration,
               count);
}

/* gradients() -> list of arrays or None: what the last training step's update used. */
static PyObject *plan_gradients(PyObject *object, PyObject *unused)
{
    (void)unused;
    plan_object *self = (plan_object *)object;
    if (is_busy(self))
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
    return PyLong_FromSize_t(tl_plan_arena_bytes(((plan_object *)self)->plan));
}

static PyObject *plan_gradient_bytes(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromSize_t(tl_plan_gradient_bytes(((plan_object *)self)->plan));
}

#define KEYWORDS(f) (PyCFunction)(void (*)(void))(f), METH_VARARGS | METH_KEYWORDS

static PyMethodDef plan_methods[] = {
    {"set_optimizer", plan_set_optimizer, METH_VARARGS,
     "set_optimizer($self, spec, updates, /)\n--\n\nHow train updates the variables."},
    {"forward", KEYWORDS(plan_forward),
     "forward($self, feeds, seed=0)\n--\n\nThe outputs as a list of arrays."},
    {"evaluate", KEYWORDS(plan_evaluate),
     "evaluate($self, feeds, targets, weights=None, seed=0)\n--\n\n(losses, outputs)."},
    {"train", KEYWORDS(plan_train),
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
    .basicsize = sizeof(plan_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = plan_slots,
};

int tl_py_add_plan(PyObject *module, tl_py_state *state)
{
    return tl_py_add_type(module, &plan_spec, &state->plan_type);
}
