/* tlfast._core: the module object, its state and its exception class. */
#define TL_PYTHON_MODULE
#include "state.h"

tl_py_state *tl_py_get_state(PyObject *module)
{
    return PyModule_GetState(module);
}

tl_py_state *tl_py_type_state(PyTypeObject *type)
{
    return PyType_GetModuleState(type);
}

/* One per file of the binding, NULL at the end. */
static int (*const add_functions[])(PyObject *, tl_py_state *) = {
    tl_py_add_runtime,
    tl_py_add_variable,
    tl_py_add_graph,
    tl_py_add_plan,
    tl_py_add_image,
    tl_py_add_loader,
    NULL,
};

static int module_exec(PyObject *module)
{
    if (PyArray_ImportNumPyAPI() < 0)
        return -1;
    tl_py_state *state = tl_py_get_state(module);
    state->decode_error = PyErr_NewExceptionWithDoc(
        "tlfast._core.DecodeError",
        "An image or model file that cannot be read; the text names the file and the reason.",
        PyExc_ValueError, NULL);
    if (state->decode_error == NULL ||
        PyModule_AddObjectRef(module, "DecodeError", state->decode_error) < 0)
        return -1;
    for (size_t i = 0; add_functions[i] != NULL; i++)
        if (add_functions[i](module, state) < 0)
            return -1;
    return 0;
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    tl_py_state *state = tl_py_get_state(module);
    Py_VISIT(state->decode_error);
    Py_VISIT(state->variable_type);
    Py_VISIT(state->graph_type);
    Py_VISIT(state->plan_type);
    Py_VISIT(state->pool_type);
    Py_VISIT(state->loader_type);
    return 0;
}

static int module_clear(PyObject *module)
{
    tl_py_state *state = tl_py_get_state(module);
    Py_CLEAR(state->decode_error);
    Py_CLEAR(state->variable_type);
    Py_CLEAR(state->graph_type);
    Py_CLEAR(state->plan_type);
    Py_CLEAR(state->pool_type);
    Py_CLEAR(state->loader_type);
    return 0;
}

static void module_free(void *module)
{
    module_clear(module);
}

/* NumPy does not support sub-interpreters. Python 3.12 takes the slot Py_mod_multiple_interpreters
 * with Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED; 3.11, whose limited API this file is compiled
 * for, has no names for the two and stops at the slot. */
#define SLOT_INTERPRETERS 3
#define INTERPRETERS_NOT_SUPPORTED ((void *)0)

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL}, /* PyInit__core fills it */
    {0, NULL},
};

static PyModuleDef module_def = {
    PyModuleDef_HEAD_INIT,         .m_name = "tlfast._core", .m_doc = "The C core of tlfast.",
    .m_size = sizeof(tl_py_state), .m_slots = module_slots,  .m_traverse = module_traverse,
    .m_clear = module_clear,       .m_free = module_free,
};

PyMODINIT_FUNC PyInit__core(void); /* the one exported symbol */

PyMODINIT_FUNC PyInit__core(void)
{
    if (Py_Version >= 0x030C0000)
        module_slots[1] = (PyModuleDef_Slot){SLOT_INTERPRETERS, INTERPRETERS_NOT_SUPPORTED};
    return PyModuleDef_Init(&module_def);
}
