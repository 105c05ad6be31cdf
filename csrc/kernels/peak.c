#include <omp.h>

#include "kernels/kernels.h"

#define SUMS 12
#define ROUNDS ((int64_t)1 << 20) /* some milliseconds */
#define TRIES 12                  /* the first ones wake the team and the clock of the processor */

typedef struct peak_kernel {
    float (*sums)(int64_t rounds);
    int flops; /* per round */
} peak_kernel;

#define BODY "kernels/peak_body.h"
#include "kernels/versions.h"

double tl_peak_flops(void)
{
    static const peak_kernel *const all[TL_ISA_COUNT] = {&kernel_base, &kernel_avx2,
                                                         &kernel_avx512};
    const peak_kernel *kernel = all[tl_kernel_isa()];
    static volatile float sink;
    double best = 0;
    for (int i = 0; i < TRIES; i++) {
        int threads = 0;
        float kept = 0;
        double start = omp_get_wtime();
#pragma omp parallel reduction(+ : threads, kept)
        {
            threads += 1;
            kept += kernel->sums(ROUNDS);
        }
        double rate = (double)threads * kernel->flops * ROUNDS / (omp_get_wtime() - start);
        sink = kept;
        best = rate > best ? rate : best;
    }
    (void)sink;
    return best;
}
