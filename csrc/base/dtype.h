/* How numbers are stored: float32, or bfloat16, which is the upper half of a float, rounded to the
 * nearest, ties to even. */
#ifndef TL_BASE_DTYPE_H
#define TL_BASE_DTYPE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef enum tl_dtype { TL_F32, TL_BF16, TL_U8 } tl_dtype; /* TL_U8: of feeds only */

typedef uint16_t tl_bf16;

static inline size_t tl_dtype_bytes(tl_dtype dtype)
{
    return dtype == TL_F32 ? sizeof(float) : dtype == TL_BF16 ? sizeof(tl_bf16) : 1;
}

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
