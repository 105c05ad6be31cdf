#include <string.h>

#include "kernels/kernels.h"

#define WIDTH 4
#define NAME(x) x##_base
#include "kernels/vector_body.h"
#include "kernels/swish_body.h"

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v3")
#define WIDTH 8
#define NAME(x) x##_avx2
#include "kernels/vector_body.h"
#include "kernels/swish_body.h"
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4,prefer-vector-width=512")
#define WIDTH 16
#define NAME(x) x##_avx512
#include "kernels/vector_body.h"
#include "kernels/swish_body.h"
#pragma GCC pop_options

tl_swish_fn tl_swish(void)
{
    static const tl_swish_fn all[TL_ISA_COUNT] = {swish_base, swish_avx2, swish_avx512};
    return all[tl_kernel_isa()];
}
