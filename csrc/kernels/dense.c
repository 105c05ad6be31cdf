#include <stddef.h>
#include <string.h>

#include "kernels/kernels.h"

#define ROWS 4
#define DEPTH 8

#define BODY "kernels/dense_body.h"
#include "kernels/versions.h"

tl_dense_fn tl_dense_columns(void)
{
    static const tl_dense_fn all[TL_ISA_COUNT] = {dense_base, dense_avx2, dense_avx512};
    return all[tl_kernel_isa()];
}
