#include "dnn.h"

#include <dlfcn.h>
#include <stddef.h>

tl_dnn_api tl_dnn;

static const struct {
    const char *name;
    size_t offset;
} functions[] = {
#define X(name) {"dnnl_" #name, offsetof(tl_dnn_api, name)},
#include "dnn.def"
#undef X
};

static tl_status check_version(const char *path, tl_error *err)
{
    const dnnl_version_t *v = tl_dnn.version();
    if (v->major != 3 || v->minor < 2)
        return tl_fail(err, TL_DNN, "%s is oneDNN %d.%d; tlfast needs 3.2 or a later 3.x", path,
                       v->major, v->minor);
    if (v->cpu_runtime != DNNL_RUNTIME_OMP)
        return tl_fail(err, TL_DNN,
                       "%s is a oneDNN build without OpenMP (CPU runtime %u); tlfast needs the "
                       "OpenMP build, such as the package onednn-cpu-gomp",
                       path, v->cpu_runtime);
    return TL_OK;
}

tl_status tl_dnn_load(const char *path, tl_error *err)
{
    if (tl_dnn.engine != NULL)
        return TL_OK;
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        return tl_fail(err, TL_DNN, "cannot open the oneDNN library: %s", dlerror());
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        void *symbol = dlsym(library, functions[i].name);
        if (symbol == NULL)
            return tl_fail(err, TL_DNN, "%s has no function %s", path, functions[i].name);
        *(void **)((char *)&tl_dnn + functions[i].offset) = symbol;
    }
    TL_TRY(check_version(path, err));
    /* Plans hold their primitives; the library's own cache would only grow the process. */
    tl_dnn.set_primitive_cache_capacity(0);
    /* ONEDNN_DEFAULT_FPMATH_MODE in the environment must not change results silently. */
    tl_dnn.set_default_fpmath_mode(dnnl_fpmath_mode_strict);
    dnnl_status_t made = tl_dnn.engine_create(&tl_dnn.engine, dnnl_cpu, 0);
    return made == dnnl_success ? TL_OK : tl_dnn_fail(err, made, "creating the CPU engine");
}

tl_status tl_dnn_fail(tl_error *err, dnnl_status_t status, const char *what)
{
    if (status == dnnl_out_of_memory)
        return tl_fail(err, TL_NOMEM, "oneDNN: not enough memory: %s", what);
    return tl_fail(err, TL_DNN, "oneDNN: %s: %s", what, tl_dnn.status2str(status));
}
