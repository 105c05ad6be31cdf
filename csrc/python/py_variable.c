/* tlfast._core.Variable and tlfast._core.Pool. */
#include "base/os.h"
#include "graph/variable.h"
#include "ops/pack.h"
#include "state.h"

typedef struct {
    PyObject_HEAD tl_variable *variable; /* one reference */
} variable_object;

typedef struct {
    PyObject_HEAD tl_pool *pool; /* one reference */
} pool_object;

/* The rank, -1 after an error; a rank over TL_MAX_RANK is for the core to refuse. */
static int parse_shape(PyObject *shape, int64_t dims[TL_MAX_RANK])
{
    PyObject *sequence = PySequence_Tuple(shape);
    if (sequence == NULL)
        return -1;
    Py_ssize_t rank = PyTuple_Size(sequence);
    for (Py_ssize_t i = 0; i < rank && i < TL_MAX_RANK; i++)
        dims[i] = PyLong_AsLongLong(PyTuple_GetItem(sequence, i));
    Py_DECREF(sequence);
    return PyErr_Occurred() ? -1 : (int)rank;
}

/* Takes over the caller's reference. */
static PyObject *wrap(PyTypeObject *type, tl_variable *variable)
{
    variable_object *self = (variable_object *)PyType_GenericAlloc(type, 0);
    if (self == NULL)
        tl_variable_release(variable);
    else
        self->variable = variable;
    return (PyObject *)self;
}

static PyObject *variable_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"shape", NULL};
    PyObject *shape;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O:Variable", names, &shape))
        return NULL;
    int64_t dims[TL_MAX_RANK] = {0};
    int rank = parse_shape(shape, dims);
    if (rank < 0)
        return NULL;
    tl_variable *variable;
    tl_error err = {0};
    if (tl_variable_create(&variable, rank, dims, &err) != TL_OK)
        return tl_py_raise(tl_py_type_state(type), &err);
    return wrap(type, variable);
}

static PyObject *variable_from_file(PyObject *type, PyObject *args)
{
    PyObject *shape;
    int file;
    long long offset;
    if (!PyArg_ParseTuple(args, "OiL:from_file", &shape, &file, &offset))
        return NULL;
    int64_t dims[TL_MAX_RANK] = {0};
    int rank = parse_shape(shape, dims);
    if (rank < 0)
        return NULL;
    tl_variable *variable;
    tl_error err = {0};
    tl_status status = tl_variable_create(&variable, rank, dims, &err);
    if (status == TL_OK) {
        Py_BEGIN_ALLOW_THREADS
        status = tl_variable_fill(variable, file, offset, &err);
        Py_END_ALLOW_THREADS
        if (status != TL_OK)
            tl_variable_release(variable);
    }
    if (status != TL_OK)
        return tl_py_raise(tl_py_type_state((PyTypeObject *)type), &err);
    return wrap((PyTypeObject *)type, variable);
}

static void variable_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    tl_variable_release(((variable_object *)self)->variable);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyObject *variable_numpy(PyObject *self, PyObject *unused)
{
    (void)unused;
    tl_variable *v = ((variable_object *)self)->variable;
    npy_intp dims[TL_MAX_RANK];
    for (int i = 0; i < v->rank; i++)
        dims[i] = v->dims[i];
    PyObject *array = PyArray_SimpleNew(v->rank, dims, NPY_FLOAT32);
    if (array != NULL)
        tl_variable_read(v, 0, v->size, PyArray_DATA((PyArrayObject *)array));
    return array;
}

static PyObject *variable_copy_to(PyObject *self, PyObject *args)
{
    tl_variable *v = ((variable_object *)self)->variable;
    PyObject *object;
    Py_ssize_t start;
    if (!PyArg_ParseTuple(args, "On:copy_to", &object, &start))
        return NULL;
    PyArrayObject *array = (PyArrayObject *)object;
    if (!PyArray_Check(object) || PyArray_TYPE(array) != NPY_FLOAT32 || !PyArray_ISCARRAY(array)) {
        PyErr_SetString(PyExc_TypeError, "expected a writable contiguous float32 array");
        return NULL;
    }
    size_t n = (size_t)PyArray_SIZE(array);
    if (start < 0 || (size_t)start > v->size || n > v->size - (size_t)start)
        return PyErr_Format(PyExc_ValueError,
                            "%zu values from number %zd on; the variable has %zu", n, start,
                            v->size);
    tl_variable_read(v, (size_t)start, n, PyArray_DATA(array));
    Py_RETURN_NONE;
}

static PyObject *variable_assign(PyObject *self, PyObject *value)
{
    tl_variable *v = ((variable_object *)self)->variable;
    PyArrayObject *array = (PyArrayObject *)PyArray_FROM_OTF(
        value, NPY_FLOAT32, NPY_ARRAY_IN_ARRAY | NPY_ARRAY_FORCECAST);
    if (array == NULL)
        return NULL;
    bool same = PyArray_NDIM(array) == v->rank;
    for (int i = 0; same && i < v->rank; i++)
        same = PyArray_DIM(array, i) == v->dims[i];
    if (!same) {
        PyObject *given = PyObject_GetAttrString((PyObject *)array, "shape");
        PyObject *shape = PyObject_GetAttrString(self, "shape");
        if (given != NULL && shape != NULL)
            PyErr_Format(PyExc_ValueError,
                         "cannot assign an array of shape %S to a variable of shape %S", given,
                         shape);
        Py_XDECREF(given);
        Py_XDECREF(shape);
        Py_DECREF(array);
        return NULL;
    }
    tl_variable_assign(v, PyArray_DATA(array));
    Py_DECREF(array);
    Py_RETURN_NONE;
}

static PyObject *variable_page_out(PyObject *self, PyObject *args)
{
    tl_variable *v = ((variable_object *)self)->variable;
    int file;
    long long offset;
    if (!PyArg_ParseTuple(args, "iL:page_out", &file, &offset))
        return NULL;
    if (offset < 0 || offset % (long long)TL_LARGE != 0)
        return PyErr_Format(PyExc_ValueError, "offset %lld; expected a multiple of %zu", offset,
                            TL_LARGE);
    bool moved;
    tl_error err = {0};
    if (tl_variable_page_out(v, file, offset, &moved, &err) != TL_OK)
        return tl_py_raise(tl_py_type_state(Py_TYPE(self)), &err);
    size_t bytes = moved ? v->size * sizeof(float) : 0;
    return PyLong_FromSize_t((bytes + TL_LARGE - 1) / TL_LARGE * TL_LARGE);
}

static PyObject *variable_shape(PyObject *self, void *unused)
{
    (void)unused;
    const tl_variable *v = ((variable_object *)self)->variable;
    PyObject *shape = PyTuple_New(v->rank);
    for (int i = 0; shape != NULL && i < v->rank; i++)
        PyTuple_SetItem(shape, i, PyLong_FromLongLong(v->dims[i]));
    return shape;
}

static PyObject *variable_version(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromUnsignedLongLong(atomic_load(&((variable_object *)self)->variable->version));
}

static PyMethodDef variable_methods[] = {
    {"from_file", variable_from_file, METH_VARARGS | METH_CLASS,
     "from_file($type, shape, file, offset, /)\n--\n\nA variable with the float32 values at an "
     "offset of "
     "a file descriptor."},
    {"numpy", variable_numpy, METH_NOARGS, "numpy($self)\n--\n\nA copy as float32 array."},
    {"copy_to", variable_copy_to, METH_VARARGS,
     "copy_to($self, array, start, /)\n--\n\nFill a float32 array with the values from number "
     "start "
     "on, in row-major order."},
    {"assign", variable_assign, METH_O,
     "assign($self, value, /)\n--\n\nReplace all values; the shape must be equal."},
    {"page_out", variable_page_out, METH_VARARGS,
     "page_out($self, file, offset, /)\n--\n\nMove a large variable that is not trained to a "
     "file descriptor, from where it is\nread when used; the bytes it takes there, 0 if it stays "
     "in memory."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef variable_getset[] = {
    {"shape", variable_shape, NULL, "Tuple of ints.", NULL},
    {"version", variable_version, NULL, "Grows with every write.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot variable_slots[] = {
    {Py_tp_doc, "Variable(shape)\n--\n\nA float32 array owned by the core, zeros at first."},
    {Py_tp_new, variable_new},
    {Py_tp_dealloc, variable_dealloc},
    {Py_tp_methods, variable_methods},
    {Py_tp_getset, variable_getset},
    {0, NULL},
};

static PyType_Spec variable_spec = {
    .name = "tlfast._core.Variable",
    .basicsize = sizeof(variable_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = variable_slots,
};

static PyObject *pool_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {NULL};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, ":Pool", names))
        return NULL;
    pool_object *self = (pool_object *)PyType_GenericAlloc(type, 0);
    if (self == NULL)
        return NULL;
    tl_error err = {0};
    if (tl_pool_create(&self->pool, &err) != TL_OK) {
        Py_DECREF(self);
        return tl_py_raise(tl_py_type_state(type), &err);
    }
    return (PyObject *)self;
}

static void pool_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    tl_pool_release(((pool_object *)self)->pool);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyObject *pool_bytes(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromSize_t(tl_pool_bytes(((pool_object *)self)->pool));
}

static PyGetSetDef pool_getset[] = {
    {"bytes", pool_bytes, NULL, "Bytes of packed weights.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot pool_slots[] = {
    {Py_tp_doc, "Pool()\n--\n\nPacked weights shared by the plans of one network."},
    {Py_tp_new, pool_new},
    {Py_tp_dealloc, pool_dealloc},
    {Py_tp_getset, pool_getset},
    {0, NULL},
};

static PyType_Spec pool_spec = {
    .name = "tlfast._core.Pool",
    .basicsize = sizeof(pool_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = pool_slots,
};

tl_variable *tl_py_variable(tl_py_state *state, PyObject *object)
{
    if (Py_TYPE(object) != state->variable_type) {
        PyErr_Format(PyExc_TypeError, "expected tlfast._core.Variable, got %R", Py_TYPE(object));
        return NULL;
    }
    return ((variable_object *)object)->variable;
}

tl_pool *tl_py_pool(tl_py_state *state, PyObject *object)
{
    if (Py_TYPE(object) != state->pool_type) {
        PyErr_Format(PyExc_TypeError, "expected tlfast._core.Pool, got %R", Py_TYPE(object));
        return NULL;
    }
    return ((pool_object *)object)->pool;
}

int tl_py_add_variable(PyObject *module, tl_py_state *state)
{
    if (tl_py_add_type(module, &variable_spec, &state->variable_type) < 0)
        return -1;
    return tl_py_add_type(module, &pool_spec, &state->pool_type);
}
