/* The versions of a kernel, one per instruction set: included by a kernel's file with BODY defined
 * as the file that holds its loops, which undefines WIDTH and NAME at its end. What it makes is
 * called NAME(x): x_base, x_avx2, x_avx512, with WIDTH floats per vector. */
#include <immintrin.h>

#define WIDTH 4
#define NAME(x) x##_base
#include "kernels/vector_body.h"
#include "kernels/element_f32.h"
#include BODY

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v3")
#define WIDTH 8
#define NAME(x) x##_avx2
#include "kernels/vector_body.h"
#include "kernels/element_f32.h"
#include BODY
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4,prefer-vector-width=512")
#define WIDTH 16
#define NAME(x) x##_avx512
#include "kernels/vector_body.h"
#include "kernels/element_f32.h"
#include BODY
#pragma GCC pop_options
