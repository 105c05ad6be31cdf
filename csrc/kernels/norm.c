#include "kernels/norm.h"

#include <immintrin.h>

#include "kernels/kernels.h"

#define CHUNK 256 /* positions summed in float */

#define BODY "kernels/norm_body.h"
#include "kernels/versions.h"
#include "kernels/version_bf16.h"

const tl_norm_kernels *tl_norm(tl_dtype dtype)
{
    if (dtype == TL_BF16)
        return &kernels_bf16;
    static const tl_norm_kernels *const all[TL_ISA_COUNT] = {&kernels_base, &kernels_avx2,
                                                             &kernels_avx512};
    return all[tl_kernel_isa()];
}
