/* Our own loops. A kernel is a plain C body over one slice, compiled once per instruction set and
 * chosen at run time by what oneDNN uses on this machine, so that ONEDNN_MAX_CPU_ISA limits both.
 * Parallel regions stand outside: their bodies would lose the instruction set. */
#ifndef TL_KERNELS_KERNELS_H
#define TL_KERNELS_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

enum { TL_ISA_BASE, TL_ISA_AVX2, TL_ISA_AVX512, TL_ISA_COUNT };

/* One of the above; oneDNN must be loaded. */
int tl_kernel_isa(void);

/* Has this machine instructions for bfloat16? oneDNN emulates them elsewhere, which is slower than
 * float32, so plans refuse. Where it is true, so is TL_ISA_AVX512. */
bool tl_has_bf16(void);

/* In a kernel's file, behind `static inline void NAME_body(params)`: its versions and their table.
 */
#define TL_KERNEL(name, params, args)                                                             \
    static void name##_base params                                                                \
    {                                                                                             \
        name##_body args;                                                                         \
    }                                                                                             \
    __attribute__((target("arch=x86-64-v3"))) static void name##_avx2 params                      \
    {                                                                                             \
        name##_body args;                                                                         \
    }                                                                                             \
    __attribute__((target("arch=x86-64-v4"))) static void name##_avx512 params                    \
    {                                                                                             \
        name##_body args;                                                                         \
    }                                                                                             \
    void(*const name[TL_ISA_COUNT]) params = {name##_base, name##_avx2, name##_avx512};

#define TL_BODY static inline __attribute__((always_inline)) void

/* dst (rows, units), columns [u0, u1), = src (rows, in) x kernel (in, units) + bias (or NULL).
 * Every element is one sum over `in` in ascending order: bits depend on no other row and no split.
 */
extern void (*const tl_dense_columns[TL_ISA_COUNT])(const float *src, const float *kernel,
                                                    const float *bias, float *dst, int64_t rows,
                                                    int64_t in, int64_t units, int64_t u0,
                                                    int64_t u1);

#endif
