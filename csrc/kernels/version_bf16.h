/* The version of a kernel for bfloat16 values, x_bf16: see versions.h; behind immintrin.h. */
#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4,avx512bf16,prefer-vector-width=512")
#define WIDTH 16
#define NAME(x) x##_bf16
#include "kernels/vector_body.h"
#include "kernels/element_bf16.h"
#include BODY
#pragma GCC pop_options
