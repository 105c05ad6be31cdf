#include "base/dnn.h"
#include "kernels/kernels.h"

int tl_kernel_isa(void)
{
    dnnl_cpu_isa_t isa = tl_dnn.get_effective_cpu_isa();
    if (isa >= dnnl_cpu_isa_avx512_core)
        return TL_ISA_AVX512;
    return isa >= dnnl_cpu_isa_avx2 ? TL_ISA_AVX2 : TL_ISA_BASE;
}

bool tl_has_bf16(void)
{
    return (tl_dnn.get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core_bf16) ==
           dnnl_cpu_isa_avx512_core_bf16;
}
