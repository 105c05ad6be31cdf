/* tlfast._core.Graph: layers append nodes while a model is lowered. */
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "graph/graph.h"
#include "ops/step.h"
#include "state.h"
#include "train/loss.h"

typedef struct {
    PyObject_HEAD tl_graph *graph; /* owned */
} graph_object;

static PyObject *graph_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"batch", NULL};
    long long batch;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "L:Graph", names, &batch))
        return NULL;
    graph_object *self = (graph_object *)PyType_GenericAlloc(type, 0);
    if (self == NULL)
        return NULL;
    tl_error err = {0};
    if (tl_graph_create(&self->graph, batch, &err) != TL_OK) {
        Py_DECREF(self);
        return tl_py_raise(tl_py_type_state(type), &err);
    }
    return (PyObject *)self;
}

static void graph_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    tl_graph_destroy(((graph_object *)self)->graph);
    PyObject_Free(self);
    Py_DECREF(type);
}

tl_graph *tl_py_graph(tl_py_state *state, PyObject *object)
{
    if (Py_TYPE(object) != state->graph_type) {
        PyErr_Format(PyExc_TypeError, "expected tlfast._core.Graph, got %R", Py_TYPE(object));
        return NULL;
    }
    return ((graph_object *)object)->graph;
}

/* Up to max integers of a sequence; how many, or -1. */
static int read_ints(PyObject *object, int64_t *out, int max)
{
    PyObject *items = PySequence_Tuple(object);
    if (items == NULL)
        return -1;
    int n = (int)PyTuple_Size(items);
    for (int i = 0; i < n && i < max; i++)
        out[i] = PyLong_AsLongLong(PyTuple_GetItem(items, i));
    Py_DECREF(items);
    if (PyErr_Occurred())
        return -1;
    if (n > max) {
        PyErr_Format(PyExc_ValueError, "%d numbers where at most %d are allowed", n, max);
        return -1;
    }
    return n;
}

/* Exactly n integers, or -1. */
static int read_exactly(PyObject *object, int64_t *out, int n, const char *what)
{
    int read = read_ints(object, out, n);
    if (read >= 0 && read < n) {
        PyErr_Format(PyExc_ValueError, "%s: %d numbers where %d are needed", what, read, n);
        return -1;
    }
    return read;
}

static int read_floats(PyObject *object, float *out, int max)
{
    PyObject *items = PySequence_Tuple(object);
    if (items == NULL)
        return -1;
    int n = (int)PyTuple_Size(items);
    for (int i = 0; i < n && i < max; i++)
        out[i] = (float)PyFloat_AsDouble(PyTuple_GetItem(items, i));
    Py_DECREF(items);
    if (PyErr_Occurred())
        return -1;
    if (n > max) {
        PyErr_Format(PyExc_ValueError, "%d numbers where at most %d are allowed", n, max);
        return -1;
    }
    return n;
}

/* A scale or shift: one number or one per channel, into new memory of *n_channels floats. */
static int read_channels(PyObject *object, float **out, int *n_channels)
{
    PyObject *items = PyFloat_Check(object) || PyLong_Check(object) ? PyTuple_Pack(1, object)
                                                                    : PySequence_Tuple(object);
    if (items == NULL)
        return -1;
    int n = (int)PyTuple_Size(items);
    tl_error err = {0};
    if (n < 1 || (*n_channels != 0 && *n_channels != 1 && n != 1 && n != *n_channels) ||
        tl_calloc((void **)out, (size_t)n, sizeof(float), "channels", &err) != TL_OK) {
        PyErr_SetString(PyExc_ValueError, "scale and shift need one number, or one per channel");
        Py_DECREF(items);
        return -1;
    }
    int read = read_floats(items, *out, n);
    Py_DECREF(items);
    if (n > *n_channels)
        *n_channels = n;
    return read < 0 ? -1 : n;
}

/* Brings scale and shift to the same length. */
static int even_channels(float **values, int n, int n_channels)
{
    if (n == n_channels)
        return 0;
    tl_error err = {0};
    if (tl_realloc((void **)values, (size_t)n_channels, sizeof(float), "channels", &err) !=
        TL_OK) {
        PyErr_NoMemory();
        return -1;
    }
    for (int i = n; i < n_channels; i++)
        (*values)[i] = (*values)[0];
    return 0;
}

static int find_name(PyObject *object, const char *(*name_of)(int), int n, const char *what)
{
    const char *text = PyUnicode_AsUTF8AndSize(object, NULL);
    for (int i = 0; text != NULL && i < n; i++)
        if (strcmp(text, name_of(i)) == 0)
            return i;
    if (text != NULL)
        PyErr_Format(PyExc_NotImplementedError, "%s '%s' is not available in this version", what,
                     text);
    return -1;
}

static const char *activation_name(int i)
{
    return tl_activation_name((tl_activation)i);
}

static const char *op_name(int i)
{
    return tl_op_name((tl_op_kind)i);
}

static const char *fill_name(int i)
{
    static const char *const fills[] = {"reflect", "wrap", "constant", "nearest"};
    return fills[i];
}

static int read_flip(PyObject *value, tl_attrs *a)
{
    const char *text = PyUnicode_AsUTF8AndSize(value, NULL);
    if (text == NULL)
        return -1;
    a->flip_together = strcmp(text, "horizontal_and_vertical") == 0;
    a->flip_horizontal = a->flip_together || strcmp(text, "horizontal") == 0;
    a->flip_vertical = a->flip_together || strcmp(text, "vertical") == 0;
    return 0;
}

/* Sets one attribute; -1 with an exception, also for an unknown name. scale_n and shift_n count
 * what was read for scale and shift. */
static int set_attr(tl_attrs *a, const char *key, PyObject *value, int *scale_n, int *shift_n)
{
#define IS(name) (strcmp(key, name) == 0)
    if (IS("strides"))
        return read_exactly(value, a->strides, 2, key);
    if (IS("dilation"))
        return read_exactly(value, a->dilation, 2, key);
    if (IS("pool"))
        return read_exactly(value, a->pool, 2, key);
    if (IS("pads"))
        return read_exactly(value, a->pads, 4, key);
    if (IS("groups"))
        return (a->groups = PyLong_AsLongLong(value)) == -1 && PyErr_Occurred() ? -1 : 0;
    if (IS("kind")) {
        int kind = find_name(value, activation_name, TL_ACT_COUNT, "activation");
        a->kind = (tl_activation)(kind < 0 ? 0 : kind);
        return kind < 0 ? -1 : 0;
    }
    if (IS("alpha")) {
        a->has_alpha = value != Py_None;
        a->alpha = a->has_alpha ? (float)PyFloat_AsDouble(value) : 0.f;
        return PyErr_Occurred() ? -1 : 0;
    }
    if (IS("epsilon") || IS("momentum") || IS("rate") || IS("fill_value")) {
        float *to = IS("epsilon")    ? &a->epsilon
                    : IS("momentum") ? &a->momentum
                    : IS("rate")     ? &a->rate
                                     : &a->fill_value;
        *to = (float)PyFloat_AsDouble(value);
        return PyErr_Occurred() ? -1 : 0;
    }
    if (IS("training") || IS("per_sample") || IS("reverse_channels")) {
        bool *to = IS("training")     ? &a->training
                   : IS("per_sample") ? &a->per_sample
                                      : &a->reverse_channels;
        *to = PyObject_IsTrue(value) == 1;
        return PyErr_Occurred() ? -1 : 0;
    }
    if (IS("shape"))
        return a->shape_rank = read_ints(value, a->shape, TL_MAX_RANK - 1);
    if (IS("seed")) {
        a->seed = PyLong_AsUnsignedLongLongMask(value);
        return PyErr_Occurred() ? -1 : 0;
    }
    if (IS("scale"))
        return *scale_n = read_channels(value, &a->scale, &a->n_channels);
    if (IS("shift"))
        return *shift_n = read_channels(value, &a->shift, &a->n_channels);
    if (IS("flip"))
        return read_flip(value, a);
    if (IS("rotation"))
        return read_floats(value, a->rotation, 2);
    if (IS("zoom_h"))
        return read_floats(value, a->zoom_h, 2);
    if (IS("zoom_w")) {
        a->zoom_same = value == Py_None;
        return a->zoom_same ? 0 : read_floats(value, a->zoom_w, 2);
    }
    if (IS("fill_mode")) {
        int mode = find_name(value, fill_name, 4, "fill_mode");
        a->fill_mode = (tl_fill)(mode < 0 ? 0 : mode);
        return mode < 0 ? -1 : 0;
    }
    if (IS("interpolation")) {
        const char *text = PyUnicode_AsUTF8AndSize(value, NULL);
        a->nearest = text != NULL && strcmp(text, "nearest") == 0;
        return text == NULL ? -1 : 0;
    }
#undef IS
    PyErr_Format(PyExc_TypeError, "an op has no attribute '%s'", key);
    return -1;
}

static int read_attrs(tl_attrs *a, PyObject *kwargs)
{
    *a = (tl_attrs){.strides = {1, 1}, .dilation = {1, 1}, .groups = 1};
    PyObject *key, *value;
    Py_ssize_t at = 0;
    int scale_n = 0, shift_n = 0;
    while (kwargs != NULL && PyDict_Next(kwargs, &at, &key, &value)) {
        const char *name = PyUnicode_AsUTF8AndSize(key, NULL);
        if (name == NULL || set_attr(a, name, value, &scale_n, &shift_n) < 0)
            return -1;
    }
    if (a->n_channels == 0)
        return 0;
    if (a->scale == NULL || a->shift == NULL) {
        PyErr_SetString(PyExc_ValueError, "scale_shift needs both scale and shift");
        return -1;
    }
    if (even_channels(&a->scale, scale_n, a->n_channels) < 0)
        return -1;
    return even_channels(&a->shift, shift_n, a->n_channels);
}

static void free_attrs(tl_attrs *a)
{
    tl_free(a->scale);
    tl_free(a->shift);
}

#define MAX_SOURCES 256

static PyObject *graph_input(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"shape", "name", NULL};
    PyObject *shape;
    const char *name = "input";
    int64_t dims[TL_MAX_RANK];
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|s:input", names, &shape, &name))
        return NULL;
    int rank = read_ints(shape, dims, TL_MAX_RANK - 1);
    if (rank < 0)
        return NULL;
    tl_error err = {0};
    int value = 0;
    if (tl_graph_input(((graph_object *)self)->graph, rank, dims, name, &value, &err) != TL_OK)
        return tl_py_raise(tl_py_type_state(Py_TYPE(self)), &err);
    return PyLong_FromLong(value);
}

static int read_weights(tl_py_state *state, PyObject *list, tl_variable **weights)
{
    PyObject *items = PySequence_Tuple(list);
    if (items == NULL)
        return -1;
    int n = (int)PyTuple_Size(items);
    if (n > TL_MAX_WEIGHTS)
        PyErr_Format(PyExc_ValueError, "%d weights where at most %d are allowed", n,
                     TL_MAX_WEIGHTS);
    for (int i = 0; i < n && !PyErr_Occurred(); i++) {
        PyObject *item = PyTuple_GetItem(items, i);
        weights[i] = item == Py_None ? NULL : tl_py_variable(state, item);
    }
    Py_DECREF(items);
    return PyErr_Occurred() ? -1 : n;
}

/* add(op, inputs, weights, name, **attrs) -> value */
static PyObject *graph_add(PyObject *self, PyObject *args, PyObject *kwargs)
{
    tl_py_state *state = tl_py_type_state(Py_TYPE(self));
    PyObject *op, *inputs, *weight_list;
    const char *name;
    int64_t src[MAX_SOURCES];
    int value = 0;
    tl_variable *weights[TL_MAX_WEIGHTS] = {NULL};
    if (!PyArg_ParseTuple(args, "OOOs:add", &op, &inputs, &weight_list, &name))
        return NULL;
    int kind = find_name(op, op_name, TL_OP_COUNT, "op");
    int n_src = kind < 0 ? -1 : read_ints(inputs, src, MAX_SOURCES);
    int n_weights = n_src < 0 ? -1 : read_weights(state, weight_list, weights);
    if (n_weights < 0)
        return NULL;
    if (n_src < 1) {
        PyErr_Format(PyExc_ValueError, "layer '%s': %U without inputs", name, op);
        return NULL;
    }
    if (kind == TL_OP_input) {
        PyErr_SetString(PyExc_ValueError, "an input is made with Graph.input");
        return NULL;
    }
    tl_attrs attrs;
    if (read_attrs(&attrs, kwargs) < 0) {
        free_attrs(&attrs);
        return NULL;
    }
    tl_error err = {0};
    if (tl_graph_add(((graph_object *)self)->graph, (tl_op_kind)kind,
                     tl_op_find((tl_op_kind)kind)->infer, name, n_src, src, n_weights, weights,
                     &attrs, &value, &err) != TL_OK)
        return tl_py_raise(state, &err);
    return PyLong_FromLong(value);
}

static int read_value(graph_object *self, PyObject *arg)
{
    long value = PyLong_AsLong(arg);
    if (value == -1 && PyErr_Occurred())
        return -1;
    if (value < 0 || value >= self->graph->n_nodes) {
        PyErr_Format(PyExc_ValueError, "value %ld; this graph has values 0 to %d", value,
                     self->graph->n_nodes - 1);
        return -1;
    }
    return (int)value;
}

static PyObject *graph_shape(PyObject *self, PyObject *arg)
{
    int v = read_value((graph_object *)self, arg);
    if (v < 0)
        return NULL;
    const tl_value *value = &((graph_object *)self)->graph->values[v];
    PyObject *shape = PyTuple_New(value->rank);
    for (int i = 0; shape != NULL && i < value->rank; i++)
        PyTuple_SetItem(shape, i, PyLong_FromLongLong(value->dims[i]));
    return shape;
}

/* node(value) -> (op, layer name, sources, activation kind or None, type asked for) */
static PyObject *graph_node(PyObject *self, PyObject *arg)
{
    int v = read_value((graph_object *)self, arg);
    if (v < 0)
        return NULL;
    const tl_node *node = &((graph_object *)self)->graph->nodes[v];
    PyObject *src = PyTuple_New(node->n_src);
    for (int i = 0; src != NULL && i < node->n_src; i++)
        PyTuple_SetItem(src, i, PyLong_FromLong(node->src[i]));
    return Py_BuildValue(
        "(ssNzs)", tl_op_name(node->kind), node->name, src,
        node->kind == TL_OP_activation ? tl_activation_name(node->attrs.kind) : NULL,
        node->dtype == TL_BF16 ? "bfloat16" : "float32");
}

/* prefix(trainable) -> list of bool: is the value a pure function of the inputs? */
static PyObject *graph_prefix(PyObject *self, PyObject *arg)
{
    tl_py_state *state = tl_py_type_state(Py_TYPE(self));
    const tl_graph *graph = ((graph_object *)self)->graph;
    PyObject *items = PySequence_Tuple(arg), *list = NULL;
    tl_variable **trainable = NULL;
    bool *flags = NULL;
    tl_error err = {0};
    if (items == NULL)
        return NULL;
    size_t n = (size_t)PyTuple_Size(items);
    if (tl_calloc((void **)&trainable, n, sizeof *trainable, "a list", &err) != TL_OK ||
        tl_calloc((void **)&flags, (size_t)graph->n_nodes, sizeof *flags, "a list", &err) !=
            TL_OK) {
        tl_py_raise(state, &err);
        goto done;
    }
    for (size_t i = 0; i < n; i++)
        if ((trainable[i] = tl_py_variable(state, PyTuple_GetItem(items, (Py_ssize_t)i))) == NULL)
            goto done;
    tl_graph_mark_prefix(graph, trainable, (int)n, flags);
    list = PyList_New(graph->n_nodes);
    for (int i = 0; list != NULL && i < graph->n_nodes; i++)
        PyList_SetItem(list, i, PyBool_FromLong(flags[i]));
done:
    tl_free(trainable);
    tl_free(flags);
    Py_DECREF(items);
    return list;
}

/* version(values) -> (sum of the versions of the variables behind them, values they depend on) */
static PyObject *graph_version(PyObject *self, PyObject *arg)
{
    const tl_graph *graph = ((graph_object *)self)->graph;
    int64_t given[MAX_SOURCES];
    int values[MAX_SOURCES];
    int n = read_ints(arg, given, MAX_SOURCES);
    bool *reached = NULL;
    tl_error err = {0};
    for (int i = 0; i < n; i++) {
        if (given[i] < 0 || given[i] >= graph->n_nodes) {
            PyErr_Format(PyExc_ValueError, "value %lld is not in the graph", (long long)given[i]);
            return NULL;
        }
        values[i] = (int)given[i];
    }
    if (n < 0)
        return NULL;
    if (tl_calloc((void **)&reached, (size_t)graph->n_nodes, sizeof *reached, "a list", &err) !=
        TL_OK)
        return tl_py_raise(tl_py_type_state(Py_TYPE(self)), &err);
    uint64_t version = tl_graph_version(graph, values, n, reached);
    PyObject *list = PyList_New(0);
    for (int i = 0; list != NULL && i < graph->n_nodes; i++) {
        PyObject *number = reached[i] ? PyLong_FromLong(i) : NULL;
        if (number != NULL && PyList_Append(list, number) < 0)
            Py_CLEAR(list);
        Py_XDECREF(number);
    }
    tl_free(reached);
    return list == NULL ? NULL : Py_BuildValue("(KN)", (unsigned long long)version, list);
}

static PyObject *graph_batch(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromLongLong(((graph_object *)self)->graph->batch);
}

static PyObject *graph_n_values(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromLong(((graph_object *)self)->graph->n_nodes);
}

static PyObject *graph_dtype(PyObject *self, void *unused)
{
    (void)unused;
    return PyUnicode_FromString(((graph_object *)self)->graph->dtype == TL_BF16 ? "bfloat16"
                                                                                : "float32");
}

static int graph_set_dtype(PyObject *self, PyObject *value, void *unused)
{
    (void)unused;
    const char *name =
        value != NULL && PyUnicode_Check(value) ? PyUnicode_AsUTF8AndSize(value, NULL) : NULL;
    if (name == NULL || (strcmp(name, "float32") != 0 && strcmp(name, "bfloat16") != 0)) {
        PyErr_Format(PyExc_ValueError, "a graph computes in 'float32' or 'bfloat16', not %R",
                     value != NULL ? value : Py_None);
        return -1;
    }
    ((graph_object *)self)->graph->dtype = strcmp(name, "bfloat16") == 0 ? TL_BF16 : TL_F32;
    return 0;
}

static PyMethodDef graph_methods[] = {
    {"input", (PyCFunction)(void (*)(void))graph_input, METH_VARARGS | METH_KEYWORDS,
     "input($self, shape, name='input')\n--\n\nA value the caller feeds; shape without batch."},
    {"add", (PyCFunction)(void (*)(void))graph_add, METH_VARARGS | METH_KEYWORDS,
     "add($self, op, inputs, weights, name, /, **attrs)\n--\n\nAppend a node; its value."},
    {"shape", graph_shape, METH_O, "shape($self, value, /)\n--\n\nShape, batch included."},
    {"node", graph_node, METH_O,
     "node($self, value, /)\n--\n\n(op, layer name, sources, activation or None, type)."},
    {"version", graph_version, METH_O,
     "version($self, values, /)\n--\n\n(version of the weights behind values, values reached)."},
    {"prefix", graph_prefix, METH_O,
     "prefix($self, trainable, /)\n--\n\nPer value: is it a pure function of the inputs?"},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef graph_getset[] = {
    {"batch", graph_batch, NULL, "Rows of every value.", NULL},
    {"n_values", graph_n_values, NULL, "Number of values.", NULL},
    {"dtype", graph_dtype, graph_set_dtype,
     "Of the nodes added from now on: 'float32', or 'bfloat16' where their ops can.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot graph_slots[] = {
    {Py_tp_doc, "Graph(batch)\n--\n\nWhat to compute, with concrete shapes."},
    {Py_tp_new, graph_new},
    {Py_tp_dealloc, graph_dealloc},
    {Py_tp_methods, graph_methods},
    {Py_tp_getset, graph_getset},
    {0, NULL},
};

static PyType_Spec graph_spec = {
    .name = "tlfast._core.Graph",
    .basicsize = sizeof(graph_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = graph_slots,
};

int tl_py_add_graph(PyObject *module, tl_py_state *state)
{
    return tl_py_add_type(module, &graph_spec, &state->graph_type);
}
