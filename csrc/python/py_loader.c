/* tlfast._core.Loader: batches of decoded images. The arrays it hands out own their memory through
 * a capsule, so nothing is copied, and the memory returns to the loader when the array is dropped.
 */
#include "state.h"

#include <stdatomic.h>
#include <string.h>

#include "base/alloc.h"
#include "data/loader.h"
#include "py_image.h"

#define CAPSULE_NAME "tlfast.batch"
#define WAIT_MS 50 /* between two looks for Ctrl-C */

typedef struct {
    PyObject_HEAD tl_loader *loader; /* NULL once closed */
    int height, width, channels;
    atomic_flag busy; /* one thread at a time inside */
} LoaderObject;

static tl_py_state *state_of(LoaderObject *self)
{
    return tl_py_type_state(Py_TYPE((PyObject *)self));
}

/* 0 and the object is ours until leave(), or -1 with an exception. */
static int enter(LoaderObject *self)
{
    if (atomic_flag_test_and_set(&self->busy)) {
        PyErr_SetString(PyExc_RuntimeError, "this Loader is in use by another thread");
        return -1;
    }
    if (self->loader == NULL) {
        atomic_flag_clear(&self->busy);
        PyErr_SetString(PyExc_RuntimeError, "this Loader is closed; make a new one");
        return -1;
    }
    return 0;
}

static void leave(LoaderObject *self)
{
    atomic_flag_clear(&self->busy);
}

/* ---- construction ---- */

/* Owned bytes objects and the pointers into them. */
typedef struct path_list {
    PyObject *bytes; /* list of bytes */
    const char **paths;
    size_t n;
} path_list;

static void free_paths(path_list *list)
{
    Py_CLEAR(list->bytes);
    PyMem_Free(list->paths);
}

static int convert_paths(PyObject *object, path_list *out)
{
    *out = (path_list){0};
    if (PyUnicode_Check(object) || PyBytes_Check(object)) {
        PyErr_SetString(PyExc_TypeError, "paths must be a list of file names, not one name");
        return -1;
    }
    out->bytes = PySequence_List(object);
    if (out->bytes == NULL)
        return -1;
    Py_ssize_t n = PyList_Size(out->bytes);
    out->paths = PyMem_Calloc((size_t)n + 1, sizeof *out->paths);
    if (out->paths == NULL) {
        PyErr_NoMemory();
        goto fail;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *path;
        if (!PyUnicode_FSConverter(PyList_GetItem(out->bytes, i), &path))
            goto fail;
        out->paths[i] = PyBytes_AsString(path);
        if (PyList_SetItem(out->bytes, i, path) < 0) /* takes path */
            goto fail;
    }
    out->n = (size_t)n;
    return 0;
fail:
    free_paths(out);
    return -1;
}

static int parse_on_bad(const char *value, bool *skip)
{
    *skip = strcmp(value, "skip") == 0;
    if (*skip || strcmp(value, "error") == 0)
        return 0;
    PyErr_Format(PyExc_ValueError, "on_bad='%s' is not known; allowed: 'error', 'skip'", value);
    return -1;
}

/* Everything of the constructor but the paths. */
static int parse_options(PyObject *args, PyObject *kwargs, tl_loader_options *out,
                         PyObject **paths)
{
    static char *names[] = {"paths", "height",  "width", "channels",   "interpolation", "pipeline",
                            "fit",   "threads", "depth", "max_pixels", "on_bad",        NULL};
    const char *interpolation_name = "bilinear", *pipeline_name = "keras", *fit_name = "stretch";
    const char *on_bad = "error";
    unsigned long long max_pixels = TL_MAX_PIXELS_DEFAULT;
    *out = (tl_loader_options){.channels = 3, .depth = 3};
    out->spec.height = out->spec.width = -1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$iiisssiiKs:Loader", names, paths,
                                     &out->spec.height, &out->spec.width, &out->channels,
                                     &interpolation_name, &pipeline_name, &fit_name, &out->threads,
                                     &out->depth, &max_pixels, &on_bad))
        return -1;
    if (out->spec.height == -1 || out->spec.width == -1) {
        PyErr_SetString(PyExc_TypeError, "Loader needs height= and width=, in pixels");
        return -1;
    }
    int interpolation = tl_py_interpolation(interpolation_name);
    int pipeline = interpolation < 0 ? -1 : tl_py_pipeline(pipeline_name);
    int fit = pipeline < 0 ? -1 : tl_py_fit(fit_name);
    if (fit < 0 || !tl_py_check_channels(out->channels) ||
        parse_on_bad(on_bad, &out->skip_bad) < 0)
        return -1;
    out->spec.interpolation = (tl_interpolation)interpolation;
    out->spec.pipeline = (tl_pipeline)pipeline;
    out->spec.fit = (tl_fit)fit;
    out->max_pixels = max_pixels;
    return 0;
}

static PyObject *loader_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    tl_loader_options options;
    PyObject *object;
    path_list paths;
    if (parse_options(args, kwargs, &options, &object) < 0 || convert_paths(object, &paths) < 0)
        return NULL;
    options.paths = paths.paths;
    options.n_paths = paths.n;
    LoaderObject *self = (LoaderObject *)PyType_GenericAlloc(type, 0);
    if (self != NULL) {
        atomic_flag_clear(&self->busy);
        self->height = options.spec.height;
        self->width = options.spec.width;
        self->channels = options.channels;
        tl_error err = {0};
        if (tl_loader_create(&self->loader, &options, &err) != TL_OK) {
            tl_py_raise(state_of(self), &err);
            Py_CLEAR(self);
        }
    }
    free_paths(&paths);
    return (PyObject *)self;
}

/* Joins the threads, which end within a row of pixels. */
static void destroy_loader(LoaderObject *self)
{
    tl_loader *loader = self->loader;
    self->loader = NULL;
    Py_BEGIN_ALLOW_THREADS
    tl_loader_destroy(loader);
    Py_END_ALLOW_THREADS
}

static void loader_dealloc(LoaderObject *self)
{
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    destroy_loader(self);
    PyObject_Free(self);
    Py_DECREF(type);
}

/* ---- start and next ---- */

/* Owned one-dimensional int64 array of any integer sequence. */
static PyArrayObject *int64_array(PyObject *object, const char *what)
{
    PyArrayObject *array = (PyArrayObject *)PyArray_FROM_O(object);
    if (array == NULL)
        return NULL;
    if (PyArray_NDIM(array) != 1 || (PyArray_SIZE(array) > 0 && !PyArray_ISINTEGER(array))) {
        PyErr_Format(PyExc_TypeError, "%s must be a one-dimensional array of integers", what);
        Py_DECREF(array);
        return NULL;
    }
    PyObject *result = PyArray_FROMANY((PyObject *)array, NPY_INT64, 1, 1,
                                       NPY_ARRAY_CARRAY_RO | NPY_ARRAY_FORCECAST);
    Py_DECREF(array);
    return (PyArrayObject *)result;
}

PyDoc_STRVAR(start_doc,
             "start(order, batch_sizes)\n--\n\n"
             "Begins to decode paths[order[0]], paths[order[1]], ... in batches of these sizes.\n"
             "A run under way is ended.");

static PyObject *loader_start(LoaderObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"order", "batch_sizes", NULL};
    PyObject *order_object, *sizes_object;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO:start", names, &order_object,
                                     &sizes_object))
        return NULL;
    PyArrayObject *order = int64_array(order_object, "order");
    PyArrayObject *sizes = order != NULL ? int64_array(sizes_object, "batch_sizes") : NULL;
    PyObject *result = NULL;
    if (sizes != NULL && enter(self) == 0) {
        tl_error err = {0};
        tl_status status;
        const int64_t *indices = PyArray_DATA(order), *counts = PyArray_DATA(sizes);
        size_t n_indices = (size_t)PyArray_SIZE(order), n_counts = (size_t)PyArray_SIZE(sizes);
        Py_BEGIN_ALLOW_THREADS
        status = tl_loader_start(self->loader, indices, n_indices, counts, n_counts, &err);
        Py_END_ALLOW_THREADS
        leave(self);
        result = status == TL_OK ? Py_NewRef(Py_None) : tl_py_raise(state_of(self), &err);
    }
    Py_XDECREF((PyObject *)order);
    Py_XDECREF((PyObject *)sizes);
    return result;
}

static void release_capsule(PyObject *capsule)
{
    tl_batch_release(PyCapsule_GetPointer(capsule, CAPSULE_NAME));
}

/* The array takes the batch; on failure the batch is released all the same. */
static PyObject *wrap_pixels(LoaderObject *self, tl_batch *batch)
{
    PyObject *capsule = PyCapsule_New(batch, CAPSULE_NAME, release_capsule);
    if (capsule == NULL) {
        tl_batch_release(batch);
        return NULL;
    }
    npy_intp shape[4] = {(npy_intp)batch->rows, self->height, self->width, self->channels};
    int type = tl_loader_is_u8(self->loader) ? NPY_UINT8 : NPY_FLOAT32;
    PyObject *array = PyArray_SimpleNewFromData(4, shape, type, batch->pixels);
    if (array == NULL) {
        Py_DECREF(capsule);
        return NULL;
    }
    if (PyArray_SetBaseObject((PyArrayObject *)array, capsule) < 0) /* takes the capsule */
        Py_CLEAR(array);
    return array;
}

static PyObject *copy_ids(const tl_batch *batch)
{
    npy_intp n = (npy_intp)batch->rows;
    PyObject *ids = PyArray_SimpleNew(1, &n, NPY_INT64);
    if (ids != NULL && n > 0)
        memcpy(PyArray_DATA((PyArrayObject *)ids), batch->ids, (size_t)n * sizeof(int64_t));
    return ids;
}

static PyObject *list_bad(const tl_batch *batch)
{
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && i < batch->n_bad; i++) {
        const char *text = batch->bad[i].error.text;
        PyObject *message =
            PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "backslashreplace");
        PyObject *item =
            message != NULL ? Py_BuildValue("(LN)", (long long)batch->bad[i].id, message) : NULL;
        if (item == NULL || PyList_Append(list, item) < 0)
            Py_CLEAR(list);
        Py_XDECREF(item);
    }
    return list;
}

static PyObject *wrap_batch(LoaderObject *self, tl_batch *batch)
{
    PyObject *ids = copy_ids(batch), *bad = list_bad(batch);
    PyObject *pixels = wrap_pixels(self, batch); /* from here on the array owns the batch */
    if (pixels != NULL && ids != NULL && bad != NULL)
        return Py_BuildValue("(NNN)", pixels, ids, bad);
    Py_XDECREF(pixels);
    Py_XDECREF(ids);
    Py_XDECREF(bad);
    return NULL;
}

PyDoc_STRVAR(next_doc,
             "next()\n--\n\n"
             "(pixels, indices, bad) of the next batch, or None at the end of the run. pixels:\n"
             "float32 (n, height, width, channels), uint8 with interpolation 'nearest' in\n"
             "pipeline 'keras'; indices: int64 (n,); bad: list of (index, message), only with\n"
             "on_bad='skip'. A file that cannot be read raises DecodeError or OSError.");

static PyObject *loader_next(LoaderObject *self, PyObject *Py_UNUSED(ignored))
{
    if (enter(self) < 0)
        return NULL;
    tl_error err = {0};
    tl_batch *batch = NULL;
    bool ready = false;
    PyObject *result = NULL;
    while (!ready) {
        tl_status status;
        Py_BEGIN_ALLOW_THREADS
        status = tl_loader_next(self->loader, WAIT_MS, &ready, &batch, &err);
        Py_END_ALLOW_THREADS
        if (status != TL_OK) {
            tl_py_raise(state_of(self), &err);
            goto done;
        }
        if (!ready && PyErr_CheckSignals() != 0)
            goto done;
    }
    result = batch != NULL ? wrap_batch(self, batch) : Py_NewRef(Py_None);
done:
    leave(self);
    return result;
}

/* ---- the rest ---- */

static PyObject *loader_close(LoaderObject *self, PyObject *Py_UNUSED(ignored))
{
    if (self->loader == NULL)
        Py_RETURN_NONE;
    if (enter(self) < 0)
        return NULL;
    destroy_loader(self);
    leave(self);
    Py_RETURN_NONE;
}

static PyObject *loader_enter(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return Py_NewRef(self);
}

static PyObject *loader_exit(LoaderObject *self, PyObject *Py_UNUSED(args))
{
    return loader_close(self, NULL);
}

static PyObject *get_threads(LoaderObject *self, void *Py_UNUSED(closure))
{
    if (enter(self) < 0)
        return NULL;
    int n = tl_loader_threads(self->loader);
    leave(self);
    return PyLong_FromLong(n);
}

static PyMethodDef methods[] = {
    {"start", (PyCFunction)(void (*)(void))loader_start, METH_VARARGS | METH_KEYWORDS, start_doc},
    {"next", (PyCFunction)loader_next, METH_NOARGS, next_doc},
    {"close", (PyCFunction)loader_close, METH_NOARGS,
     "close()\n--\n\nStops the threads. Batches handed out stay valid."},
    {"__enter__", loader_enter, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)loader_exit, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef getters[] = {
    {"threads", (getter)get_threads, NULL, "Number of decoding threads.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyDoc_STRVAR(loader_doc,
             "Loader(paths, *, height, width, channels=3, interpolation='bilinear', "
             "pipeline='keras', fit='stretch', threads=0, depth=3, max_pixels=178956970, "
             "on_bad='error')\n--\n\n"
             "Decodes images into batches with threads of its own, `depth` batches ahead.");

static PyType_Slot slots[] = {
    {Py_tp_doc, (void *)loader_doc}, {Py_tp_new, loader_new}, {Py_tp_dealloc, loader_dealloc},
    {Py_tp_methods, methods},        {Py_tp_getset, getters}, {0, NULL},
};

static PyType_Spec spec = {
    .name = "tlfast._core.Loader",
    .basicsize = sizeof(LoaderObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

int tl_py_add_loader(PyObject *module, tl_py_state *state)
{
    return tl_py_add_type(module, &spec, &state->loader_type);
}
