#include <string.h>

#include "kernels/kernels.h"

#define BODY "kernels/swish_body.h"
#include "kernels/versions.h"

tl_swish_fn tl_swish(void)
{
    static const tl_swish_fn all[TL_ISA_COUNT] = {swish_base, swish_avx2, swish_avx512};
    return all[tl_kernel_isa()];
}
