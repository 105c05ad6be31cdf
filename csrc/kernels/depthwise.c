#include "kernels/depthwise.h"

#include <immintrin.h>

#include "kernels/kernels.h"

#define BODY "kernels/depthwise_body.h"
#include "kernels/versions.h"
#include "kernels/version_bf16.h"

tl_depthwise_weights_fn tl_depthwise_weights(tl_dtype dtype)
{
    if (dtype == TL_BF16)
        return weights_bf16;
    static const tl_depthwise_weights_fn all[TL_ISA_COUNT] = {weights_base, weights_avx2,
                                                              weights_avx512};
    return all[tl_kernel_isa()];
}
