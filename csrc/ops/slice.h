/* One image of a rank-4 tensor in slices of neighbouring channels, as the kernels of norm.h take
 * them. */
#ifndef TL_OPS_SLICE_H
#define TL_OPS_SLICE_H

#include "kernels/norm.h"
#include "ops/step.h"

/* Up to TL_NORM_WIDTH channels from channel `first` of the image on: n positions, stride numbers
 * apart, from `at`; their place in an (N, C) or (N, 1, 1, C) value of the same layout is
 * `channel`.
 */
typedef struct tl_slice {
    int64_t at, channel, first, n, stride;
    int width, real; /* channels with and without padding */
} tl_slice;

static inline int64_t tl_slices_per_image(const tl_tensor *x)
{
    tl_channels w = tl_tensor_channels(x);
    return x->layout == TL_LAYOUT_BLOCKED ? w.blocks : (w.n + TL_NORM_WIDTH - 1) / TL_NORM_WIDTH;
}

static inline tl_slice tl_slice_of(const tl_tensor *x, int64_t image, int64_t i)
{
    bool blocked = x->layout == TL_LAYOUT_BLOCKED;
    int64_t n = x->dims[1] * x->dims[2], c = x->dims[3];
    int64_t span = blocked ? x->block : TL_NORM_WIDTH, first = i * span;
    int real = (int)(c - first < span ? c - first : span);
    if (blocked) {
        int64_t block = image * tl_slices_per_image(x) + i;
        return (tl_slice){block * n * span, block * span, first, n, span, (int)span, real};
    }
    return (tl_slice){image * n * c + first, image * c + first, first, n, c, real, real};
}

#endif
