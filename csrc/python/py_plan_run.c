/* forward, evaluate and train of tlfast._core.Plan. One call is one forward pass or one whole
 * training step; the GIL is released once, and signals are handled while the compute thread works.
 */
#include "py_plan.h"

#include <unistd.h>

#include "base/alloc.h"
#include "base/compute.h"

/* What Python asks for. */
typedef struct request {
    PyObject *feeds;
    PyObject *targets; /* NULL: only the outputs are wanted */
    PyObject *weights; /* may be None */
    bool update, dry;  /* dry: gradients, but nothing is written */
    unsigned long long seed;
    float learning_rate;
    long long iteration;
    int64_t *counter; /* counts the step when it was done; or NULL */
} request;

/* Everything a call borrows from Python while the core runs. */
typedef struct call {
    tl_py_plan *self;
    int n_arrays;
    PyObject **arrays; /* owned references: feeds, targets, weights */
    tl_feed *feeds;
    const float **targets, **weights;
    float **outputs;
    double *losses;
    bool update, dry;
    tl_train_args args;
} call;

static tl_status run_job(void *arg, tl_error *err)
{
    const call *c = arg;
    tl_py_plan *self = c->self;
    return tl_train_step(self->plan, self->losses, c->args.targets != NULL ? self->n_losses : 0,
                         c->dry ? NULL : &self->optimizer, c->update ? self->updates : NULL,
                         self->n_trainable, &c->args, err);
}

static void call_clear(call *c)
{
    for (int i = 0; i < c->n_arrays; i++)
        Py_DECREF(c->arrays[i]);
    void *lists[] = {c->arrays, c->feeds, c->targets, c->weights, c->outputs, c->losses};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        tl_free(lists[i]);
}

static int call_init(call *c, tl_py_plan *self)
{
    tl_error err = {0};
    size_t f = (size_t)self->n_feeds, l = (size_t)self->n_losses, o = (size_t)self->n_outputs;
    *c = (call){.self = self};
    if (tl_calloc((void **)&c->arrays, f + 2 * l, sizeof *c->arrays, "a call", &err) == TL_OK &&
        tl_calloc((void **)&c->feeds, f, sizeof *c->feeds, "a call", &err) == TL_OK &&
        tl_calloc((void **)&c->targets, l, sizeof *c->targets, "a call", &err) == TL_OK &&
        tl_calloc((void **)&c->weights, l, sizeof *c->weights, "a call", &err) == TL_OK &&
        tl_calloc((void **)&c->outputs, o, sizeof *c->outputs, "a call", &err) == TL_OK &&
        tl_calloc((void **)&c->losses, l, sizeof *c->losses, "a call", &err) == TL_OK)
        return 0;
    PyErr_NoMemory();
    return -1;
}

/* ---- reading arrays ---- */

static int check_elements(PyArrayObject *array, int64_t expected, const char *what, int i)
{
    if ((int64_t)PyArray_SIZE(array) == expected)
        return 0;
    PyErr_Format(PyExc_ValueError, "%s %d has %zd elements, the plan needs %lld", what, i,
                 (Py_ssize_t)PyArray_SIZE(array), (long long)expected);
    return -1;
}

/* Entry i of a list as an array of the type, kept until the call ends. */
static PyArrayObject *keep_array(call *c, PyObject *list, int i, int type)
{
    PyObject *item = Py_XNewRef(PyList_GetItem(list, i)); /* conversion may run Python code */
    if (item == NULL)
        return NULL;
    PyObject *array = PyArray_FROM_OTF(item, type, NPY_ARRAY_IN_ARRAY | NPY_ARRAY_FORCECAST);
    Py_DECREF(item);
    if (array != NULL)
        c->arrays[c->n_arrays++] = array;
    return (PyArrayObject *)array;
}

static int read_feeds(call *c, const tl_graph *graph, PyObject *list)
{
    const tl_py_plan *self = c->self;
    if (!PyList_Check(list) || PyList_Size(list) != self->n_feeds) {
        PyErr_Format(PyExc_ValueError, "expected a list of %d arrays", self->n_feeds);
        return -1;
    }
    for (int i = 0; i < self->n_feeds; i++) {
        PyObject *item = PyList_GetItem(list, i);
        bool bytes = item != NULL && PyArray_Check(item) &&
                     PyArray_TYPE((PyArrayObject *)item) == NPY_UINT8;
        PyArrayObject *array = keep_array(c, list, i, bytes ? NPY_UINT8 : NPY_FLOAT32);
        const tl_value *v = &graph->values[self->feeds[i]];
        if (array == NULL ||
            check_elements(array, tl_shape_size(v->rank, v->dims), "input", i) < 0)
            return -1;
        c->feeds[i] = (tl_feed){PyArray_DATA(array), bytes ? TL_U8 : TL_F32};
    }
    return 0;
}

/* Targets and sample weights, one entry per loss; weights may be None, as may its entries. */
static int read_targets(call *c, PyObject *targets, PyObject *weights)
{
    const tl_py_plan *self = c->self;
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
        PyArrayObject *y = keep_array(c, targets, i, NPY_FLOAT32);
        if (y == NULL || check_elements(y, sparse ? rows : rows * n, "target", i) < 0)
            return -1;
        c->targets[i] = PyArray_DATA(y);
        if (weights == Py_None || PyList_GetItem(weights, i) == Py_None)
            continue;
        PyArrayObject *w = keep_array(c, weights, i, NPY_FLOAT32);
        if (w == NULL || check_elements(w, rows, "sample weight", i) < 0)
            return -1;
        c->weights[i] = PyArray_DATA(w);
    }
    return 0;
}

/* ---- running ---- */

/* New arrays that the core writes the outputs to, as a list. */
static PyObject *make_outputs(call *c, const tl_graph *graph)
{
    PyObject *list = PyList_New(c->self->n_outputs);
    for (int i = 0; list != NULL && i < c->self->n_outputs; i++) {
        const tl_value *v = &graph->values[c->self->outputs[i]];
        npy_intp dims[TL_MAX_RANK];
        for (int k = 0; k < v->rank; k++)
            dims[k] = v->dims[k];
        PyObject *array = PyArray_SimpleNew(v->rank, dims, NPY_FLOAT32);
        if (array == NULL) {
            Py_CLEAR(list);
            break;
        }
        c->outputs[i] = PyArray_DATA((PyArrayObject *)array);
        PyList_SetItem(list, i, array); /* takes the reference */
    }
    return list;
}

static PyObject *loss_list(const call *c)
{
    PyObject *list = PyList_New(c->self->n_losses);
    for (int i = 0; list != NULL && i < c->self->n_losses; i++) {
        PyObject *loss = PyFloat_FromDouble(c->losses[i]);
        if (loss == NULL)
            Py_CLEAR(list);
        else
            PyList_SetItem(list, i, loss);
    }
    return list;
}

/* Runs with the arrays read; returns the outputs, or (losses, outputs) with targets. */
static PyObject *run_call(call *c, const request *asked)
{
    tl_py_state *state = tl_py_type_state(Py_TYPE((PyObject *)c->self));
    const tl_graph *graph = tl_py_graph(state, c->self->graph);
    if (read_feeds(c, graph, asked->feeds) < 0 ||
        (asked->targets != NULL && read_targets(c, asked->targets, asked->weights) < 0))
        return NULL;
    PyObject *outputs = make_outputs(c, graph);
    if (outputs == NULL)
        return NULL;
    c->update = asked->update;
    c->dry = asked->dry;
    c->args = (tl_train_args){.feeds = c->feeds,
                              .targets = asked->targets != NULL ? c->targets : NULL,
                              .sample_weights = c->weights,
                              .outputs = c->outputs,
                              .seed = asked->seed,
                              .learning_rate = asked->learning_rate,
                              .iteration = asked->iteration,
                              .losses = c->losses};
    tl_job job = {.run = run_job, .arg = c};
    int ran = tl_py_run_job(state, &job);
    /* Here, where no signal comes in between: an interrupted call may have done its update. */
    if (asked->counter != NULL && job.done && job.status == TL_OK)
        *asked->counter += 1;
    if (ran == 0 && asked->targets == NULL)
        return outputs;
    PyObject *losses = ran == 0 ? loss_list(c) : NULL;
    if (losses != NULL)
        return Py_BuildValue("(NN)", losses, outputs);
    Py_DECREF(outputs);
    return NULL;
}

static PyObject *run(tl_py_plan *self, const request *asked)
{
    call c;
    if (tl_py_plan_is_busy(self))
        return NULL;
    self->busy = getpid(); /* already here: other threads may run while arrays are converted */
    PyObject *result = call_init(&c, self) == 0 ? run_call(&c, asked) : NULL;
    self->busy = 0;
    call_clear(&c);
    return result;
}

PyObject *tl_py_plan_forward(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"feeds", "seed", NULL};
    request asked = {0};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|K:forward", names, &asked.feeds,
                                     &asked.seed))
        return NULL;
    return run((tl_py_plan *)self, &asked);
}

PyObject *tl_py_plan_evaluate(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"feeds", "targets", "weights", "seed", NULL};
    request asked = {.weights = Py_None};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|OK:evaluate", names, &asked.feeds,
                                     &asked.targets, &asked.weights, &asked.seed))
        return NULL;
    return run((tl_py_plan *)self, &asked);
}

/* An int64 array of one element; NULL with an exception. */
static int64_t *counter_of(PyObject *object)
{
    PyArrayObject *array = (PyArrayObject *)object;
    if (PyArray_Check(object) && PyArray_TYPE(array) == NPY_INT64 && PyArray_SIZE(array) == 1 &&
        PyArray_ISBEHAVED(array))
        return PyArray_DATA(array);
    PyErr_SetString(PyExc_TypeError, "counter must be an int64 array of one element");
    return NULL;
}

PyObject *tl_py_plan_train(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"feeds",   "targets", "weights", "learning_rate", "iteration", "seed",
                            "counter", "dry",     NULL};
    request asked = {.weights = Py_None, .update = true};
    PyObject *counter = Py_None;
    int dry = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|OfLKOp:train", names, &asked.feeds,
                                     &asked.targets, &asked.weights, &asked.learning_rate,
                                     &asked.iteration, &asked.seed, &counter, &dry))
        return NULL;
    asked.dry = dry == 1;
    if (counter != Py_None && (asked.counter = counter_of(counter)) == NULL)
        return NULL;
    if (!((tl_py_plan *)self)->has_optimizer) {
        PyErr_SetString(PyExc_RuntimeError, "set_optimizer was not called");
        return NULL;
    }
    return run((tl_py_plan *)self, &asked);
}
