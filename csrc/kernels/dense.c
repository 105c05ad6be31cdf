#include <stddef.h>
#include <string.h>

#include "kernels/kernels.h"

#define ROWS 4
#define DEPTH 8

#define WIDTH 4
#define NAME(x) x##_base
#include "kernels/vector_body.h"
#include "kernels/dense_body.h"

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v3")
#define WIDTH 8
#define NAME(x) x##_avx2
#include "kernels/vector_body.h"
#include "kernels/dense_body.h"
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4,prefer-vector-width=512")
#define WIDTH 16
#define NAME(x) x##_avx512
#include "kernels/vector_body.h"
#include "kernels/dense_body.h"
#pragma GCC pop_options

tl_dense_fn tl_dense_columns(void)
{
    static const tl_dense_fn all[TL_ISA_COUNT] = {dense_base, dense_avx2, dense_avx512};
    return all[tl_kernel_isa()];
}
