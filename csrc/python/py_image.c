/* decode_image, image_info, resize_image: one image at a time, for load_img, predictions and
 * tests. Batches go through the Loader. */
#include "state.h"

#include <string.h>

#include "base/alloc.h"
#include "image/decode.h"
#include "image/file.h"
#include "image/resize.h"
#include "py_image.h"

static const char *const pipelines[] = {
#define X(name, text) text,
    TL_PIPELINES(X)
#undef X
};

static const char *const interpolations[] = {
#define X(name, text) text,
    TL_INTERPOLATIONS(X)
#undef X
};

static const char *const fits[] = {
#define X(name, text) text,
    TL_FITS(X)
#undef X
};

static const char *const formats[] = {
#define X(name, text) text,
    TL_IMAGE_FORMATS(X)
#undef X
};

static int find_word(const char *what, const char *value, const char *const *words, int n)
{
    char allowed[256] = "";
    for (int i = 0; i < n; i++) {
        if (strcmp(value, words[i]) == 0)
            return i;
        size_t used = strlen(allowed);
        PyOS_snprintf(allowed + used, sizeof allowed - used, "%s'%s'", i > 0 ? ", " : "",
                      words[i]);
    }
    PyErr_Format(PyExc_ValueError, "%s='%s' is not known; allowed: %s", what, value, allowed);
    return -1;
}

int tl_py_pipeline(const char *value)
{
    return find_word("pipeline", value, pipelines, TL_PIPELINE_COUNT);
}

int tl_py_interpolation(const char *value)
{
    return find_word("interpolation", value, interpolations, TL_INTERPOLATION_COUNT);
}

int tl_py_fit(const char *value)
{
    return find_word("fit", value, fits, TL_FIT_COUNT);
}

int tl_py_check_channels(int channels)
{
    if (channels == 1 || channels == 3 || channels == 4)
        return 1;
    PyErr_Format(PyExc_ValueError,
                 "channels=%d is not possible; allowed: 1 (gray), 3 (RGB), 4 (RGBA)", channels);
    return 0;
}

/* The bytes of an image: given, or read from a path into `file`. */
typedef struct image_source {
    PyObject *path; /* bytes, owned; NULL when data was given */
    Py_buffer view; /* held when data was given */
    tl_buffer file;
    const uint8_t *data;
    size_t size;
} image_source;

static int open_source(image_source *source, PyObject *object)
{
    memset(source, 0, sizeof *source);
    if (PyObject_CheckBuffer(object)) {
        if (PyObject_GetBuffer(object, &source->view, PyBUF_SIMPLE) != 0)
            return -1;
        source->data = source->view.buf;
        source->size = (size_t)source->view.len;
        return 0;
    }
    return PyUnicode_FSConverter(object, &source->path) ? 0 : -1; /* TypeError names the type */
}

static void close_source(image_source *source)
{
    if (source->view.obj != NULL)
        PyBuffer_Release(&source->view);
    Py_CLEAR(source->path);
    tl_buffer_deinit(&source->file);
}

/* Without the GIL: reads the file when a path was given. */
static tl_status load_source(image_source *source, const char *path, tl_error *err)
{
    if (path == NULL)
        return TL_OK;
    TL_TRY(tl_file_read(path, &source->file, &source->size, err));
    source->data = source->file.data;
    return TL_OK;
}

/* "cannot decode 'path': reason" for errors that do not name the file yet. */
static void name_file(tl_error *err, const char *path)
{
    if (path == NULL || err->code == TL_IO)
        return;
    char shown[TL_PATH_TEXT];
    tl_error named = {0};
    tl_fail(&named, err->code, "cannot decode %s: %s", tl_path_show(path, shown), err->text);
    *err = named;
}

static const char *path_of(const image_source *source)
{
    return source->path != NULL ? PyBytes_AsString(source->path) : NULL;
}

PyDoc_STRVAR(decode_image_doc,
             "decode_image(data_or_path, *, channels=3, pipeline='keras', max_pixels=178956970)\n"
             "--\n\n"
             "Pixels of a JPEG or PNG, uint8 (height, width, channels). bytes are the file's\n"
             "content, str and PathLike name a file. Raises DecodeError or OSError.");

static PyObject *decode_image(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "channels", "pipeline", "max_pixels", NULL};
    PyObject *object;
    const char *pipeline_name = "keras";
    unsigned long long max_pixels = TL_MAX_PIXELS_DEFAULT;
    tl_decode_options options = {.channels = 3};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$isK:decode_image", names, &object,
                                     &options.channels, &pipeline_name, &max_pixels))
        return NULL;
    int pipeline = tl_py_pipeline(pipeline_name);
    if (pipeline < 0 || !tl_py_check_channels(options.channels))
        return NULL;
    options.pipeline = (tl_pipeline)pipeline;
    options.max_pixels = max_pixels;
    image_source source;
    if (open_source(&source, object) < 0)
        return NULL;

    const char *path = path_of(&source);
    tl_decoder decoder = {0};
    tl_image image;
    tl_error err = {0};
    tl_status status;
    Py_BEGIN_ALLOW_THREADS
    status = load_source(&source, path, &err);
    if (status == TL_OK) {
        status = tl_decoder_decode(&decoder, source.data, source.size, &options, &image, &err);
        if (status != TL_OK)
            name_file(&err, path);
    }
    Py_END_ALLOW_THREADS
    PyObject *result = NULL;
    if (status != TL_OK) {
        tl_py_raise(tl_py_get_state(module), &err);
    } else {
        npy_intp shape[3] = {image.height, image.width, image.channels};
        result = PyArray_SimpleNew(3, shape, NPY_UINT8);
        if (result != NULL)
            memcpy(PyArray_DATA((PyArrayObject *)result), image.pixels,
                   (size_t)PyArray_NBYTES((PyArrayObject *)result));
    }
    tl_decoder_deinit(&decoder);
    close_source(&source);
    return result;
}

PyDoc_STRVAR(image_info_doc,
             "image_info(data_or_path, *, max_pixels=178956970)\n--\n\n"
             "(format, width, height, channels) from the header of a JPEG or PNG.");

static PyObject *image_info(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "max_pixels", NULL};
    PyObject *object;
    unsigned long long max_pixels = TL_MAX_PIXELS_DEFAULT;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$K:image_info", names, &object, &max_pixels))
        return NULL;
    image_source source;
    if (open_source(&source, object) < 0)
        return NULL;
    const char *path = path_of(&source);
    tl_image_info info;
    tl_error err = {0};
    tl_status status;
    Py_BEGIN_ALLOW_THREADS
    status = load_source(&source, path, &err);
    if (status == TL_OK) {
        status = tl_decoder_peek(source.data, source.size, max_pixels, &info, &err);
        if (status != TL_OK)
            name_file(&err, path);
    }
    Py_END_ALLOW_THREADS
    close_source(&source);
    if (status != TL_OK)
        return tl_py_raise(tl_py_get_state(module), &err);
    return Py_BuildValue("(siii)", formats[info.format], info.width, info.height, info.channels);
}

/* Describes array (C-contiguous, uint8 or float32, three axes) or sets an exception. */
static int describe_array(PyArrayObject *array, tl_pixels *out)
{
    int type = PyArray_TYPE(array);
    if (type != NPY_UINT8 && type != NPY_FLOAT32) {
        PyErr_Format(PyExc_TypeError, "resize_image takes uint8 or float32 pixels, not %R",
                     (PyObject *)PyArray_DESCR(array));
        return -1;
    }
    if (PyArray_NDIM(array) != 3) {
        PyErr_Format(PyExc_ValueError,
                     "resize_image takes an array (height, width, channels), not one with %d axes",
                     PyArray_NDIM(array));
        return -1;
    }
    const npy_intp *shape = PyArray_DIMS(array);
    for (int i = 0; i < 3; i++) {
        if (shape[i] < 1 || shape[i] > INT32_MAX) {
            PyErr_Format(PyExc_ValueError, "resize_image cannot resize shape (%zd, %zd, %zd)",
                         (Py_ssize_t)shape[0], (Py_ssize_t)shape[1], (Py_ssize_t)shape[2]);
            return -1;
        }
    }
    *out = (tl_pixels){.width = (int)shape[1],
                       .height = (int)shape[0],
                       .channels = (int)shape[2],
                       .is_float = type == NPY_FLOAT32,
                       .stride = (size_t)shape[1] * (size_t)shape[2],
                       .data = PyArray_DATA(array)};
    return 0;
}

PyDoc_STRVAR(resize_image_doc,
             "resize_image(array, height, width, interpolation='bilinear', pipeline='keras', "
             "fit='stretch')\n--\n\n"
             "Resizes uint8 or float32 pixels (height, width, channels); returns float32.");

static PyObject *resize_image(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "height", "width", "interpolation", "pipeline", "fit", NULL};
    PyObject *object;
    int height, width;
    const char *interpolation_name = "bilinear", *pipeline_name = "keras", *fit_name = "stretch";
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "Oii|sss:resize_image", names, &object, &height,
                                     &width, &interpolation_name, &pipeline_name, &fit_name))
        return NULL;
    int interpolation = tl_py_interpolation(interpolation_name);
    int pipeline = interpolation < 0 ? -1 : tl_py_pipeline(pipeline_name);
    int fit = pipeline < 0 ? -1 : tl_py_fit(fit_name);
    if (fit < 0)
        return NULL;
    tl_resize_spec spec = {width, height, (tl_interpolation)interpolation, (tl_pipeline)pipeline,
                           (tl_fit)fit};
    tl_error err = {0};
    if (tl_resize_check(&spec, &err) != TL_OK)
        return tl_py_raise(tl_py_get_state(module), &err);
    PyArrayObject *array = (PyArrayObject *)PyArray_FROM_OF(
        object, NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_ALIGNED | NPY_ARRAY_NOTSWAPPED);
    if (array == NULL)
        return NULL;
    tl_pixels pixels;
    PyObject *result = NULL;
    if (describe_array(array, &pixels) == 0) {
        npy_intp shape[3] = {height, width, pixels.channels};
        result = PyArray_SimpleNew(3, shape, NPY_FLOAT32);
    }
    if (result != NULL) {
        float *dst = PyArray_DATA((PyArrayObject *)result);
        tl_resizer resizer = {0};
        tl_status status;
        Py_BEGIN_ALLOW_THREADS
        status = tl_resizer_run(&resizer, &pixels, &spec, dst, &err);
        tl_resizer_deinit(&resizer);
        Py_END_ALLOW_THREADS
        if (status != TL_OK) {
            Py_CLEAR(result);
            tl_py_raise(tl_py_get_state(module), &err);
        }
    }
    Py_DECREF(array);
    return result;
}

static PyMethodDef functions[] = {
    {"decode_image", (PyCFunction)(void (*)(void))decode_image, METH_VARARGS | METH_KEYWORDS,
     decode_image_doc},
    {"image_info", (PyCFunction)(void (*)(void))image_info, METH_VARARGS | METH_KEYWORDS,
     image_info_doc},
    {"resize_image", (PyCFunction)(void (*)(void))resize_image, METH_VARARGS | METH_KEYWORDS,
     resize_image_doc},
    {NULL, NULL, 0, NULL},
};

int tl_py_add_image(PyObject *module, tl_py_state *state)
{
    (void)state;
    return PyModule_AddFunctions(module, functions);
}
