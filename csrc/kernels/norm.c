#include "kernels/norm.h"

#include <immintrin.h>

#include "kernels/kernels.h"

#define CHUNK 256 /* positions summed in float */

#define WIDTH 4
#define NAME(x) x##_base
#include "kernels/vector_body.h"
#include "kernels/element_f32.h"
#include "kernels/norm_body.h"

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v3")
#define WIDTH 8
#define NAME(x) x##_avx2
#include "kernels/vector_body.h"
#include "kernels/element_f32.h"
#include "kernels/norm_body.h"
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4,prefer-vector-width=512")
#define WIDTH 16
#define NAME(x) x##_avx512
#include "kernels/vector_body.h"
#include "kernels/element_f32.h"
#include "kernels/norm_body.h"
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4,avx512bf16,prefer-vector-width=512")
#define WIDTH 16
#define NAME(x) x##_bf16
#include "kernels/vector_body.h"
#include "kernels/element_bf16.h"
#include "kernels/norm_body.h"
#pragma GCC pop_options

const tl_norm_kernels *tl_norm(tl_dtype dtype)
{
    if (dtype == TL_BF16)
        return &kernels_bf16;
    static const tl_norm_kernels *const all[TL_ISA_COUNT] = {&kernels_base, &kernels_avx2,
                                                             &kernels_avx512};
    return all[tl_kernel_isa()];
}
