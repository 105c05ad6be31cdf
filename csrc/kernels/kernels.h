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

/* Columns [u0, u1) of dst (rows, units) = src (rows, in) x kernel (in, units) + bias (or NULL).
 * Every element is one sum over `in` in ascending order: bits depend on no other row, and on no
 * split at multiples of TL_DENSE_SPLIT. */
#define TL_DENSE_SPLIT 16
typedef void (*tl_dense_fn)(const float *src, const float *kernel, const float *bias, float *dst,
                            int64_t rows, int64_t in, int64_t units, int64_t u0, int64_t u1);
tl_dense_fn tl_dense_columns(void);

/* float32 operations per second of the whole team: multiply-adds that stay in registers, the best
 * of several tries. On the compute thread. */
double tl_peak_flops(void);

#endif
