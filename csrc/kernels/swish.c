#include "kernels/swish.h"

#include <immintrin.h>
#include <string.h>

#include "kernels/kernels.h"

#define BODY "kernels/swish_body.h"
#include "kernels/versions.h"
#include "kernels/version_bf16.h"

const tl_swish_kernels *tl_swish(tl_dtype dtype)
{
    if (dtype == TL_BF16)
        return &kernels_bf16;
    static const tl_swish_kernels *const all[TL_ISA_COUNT] = {&kernels_base, &kernels_avx2,
                                                              &kernels_avx512};
    return all[tl_kernel_isa()];
}
