/* oneDNN, opened at run time by absolute path: no DT_NEEDED, so a libdnnl.so.3 that another
 * package brought into the process cannot replace ours through its SONAME, and TLFAST_DNNL can
 * name a newer build. Functions are called as tl_dnn.memory_create(...). */
#ifndef TL_BASE_DNN_H
#define TL_BASE_DNN_H

#include <oneapi/dnnl/dnnl.h>
#include <oneapi/dnnl/dnnl_debug.h>

#include "status.h"

typedef struct tl_dnn_api {
#define X(name) __typeof__(&dnnl_##name) name;
#include "dnn.def"
#undef X
    dnnl_engine_t engine;
} tl_dnn_api;

/* Filled once by tl_dnn_load, before any other thread of ours starts; constant after that. */
extern tl_dnn_api tl_dnn;

/* Opens the library at path and checks that it is oneDNN 3.x (3.2 or newer) with the OpenMP
 * runtime. A second call with a loaded library does nothing. */
tl_status tl_dnn_load(const char *path, tl_error *err);

/* Translates a failed oneDNN call; `what` says which call for which layer. */
tl_status tl_dnn_fail(tl_error *err, dnnl_status_t status, const char *what);

#define TL_DNN_GOTO(call, what)                                                                   \
    do {                                                                                          \
        dnnl_status_t tl_dnn_status = (call);                                                     \
        if (tl_dnn_status != dnnl_success) {                                                      \
            status = tl_dnn_fail(err, tl_dnn_status, what);                                       \
            goto fail;                                                                            \
        }                                                                                         \
    } while (0)

#endif
