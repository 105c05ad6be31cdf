/* bfloat16: the upper half of a float. Rounded to the nearest, ties to even. */
#ifndef TL_KERNELS_BF16_H
#define TL_KERNELS_BF16_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

typedef uint16_t tl_bf16;

/* Has this machine instructions for it? oneDNN emulates them elsewhere, which is slower than f32,
 * so plans refuse. Where it is true, so is TL_ISA_AVX512. */
bool tl_has_bf16(void);

static inline float tl_bf16_value(tl_bf16 x)
{
    uint32_t bits = (uint32_t)x << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline tl_bf16 tl_bf16_round(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if (x != x)
        return (tl_bf16)(bits >> 16 | 0x40);
    return (tl_bf16)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

#endif
