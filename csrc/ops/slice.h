/* One image of a rank-4 tensor in slices of neighbouring channels, as the kernels of norm.h take
 * them. */
#ifndef TL_OPS_SLICE_H
#define TL_OPS_SLICE_H

#include "kernels/norm.h"
#include "ops/step.h"

/* Up to TL_NORM_WIDTH channels from `first` on: n positions, stride numbers apart, from `at`;
 * their place in an (N, 1, 1, C) value of the same layout is `channel`. */
typedef struct tl_slice {
    int64_t at, first, channel, n, stride;
    int width;
} tl_slice;

static inline int64_t tl_slices_per_image(const tl_tensor *x)
{
    tl_channels w = tl_tensor_channels(x);
    return x->layout == TL_LAYOUT_BLOCKED ? w.blocks : (w.n + TL_NORM_WIDTH - 1) / TL_NORM_WIDTH;
}

static inline tl_slice tl_slice_of(const tl_tensor *x, int64_t image, int64_t i)
{
    int64_t n = x->dims[1] * x->dims[2], c = x->dims[3];
    if (x->layout == TL_LAYOUT_BLOCKED) {
        int64_t block = image * tl_slices_per_image(x) + i;
        return (tl_slice){.at = block * n * x->block,
                          .first = i * x->block,
                          .channel = block * x->block,
                          .n = n,
                          .stride = x->block,
                          .width = x->block};
    }
    int64_t first = i * TL_NORM_WIDTH, left = c - first;
    return (tl_slice){.at = image * n * c + first,
                      .first = first,
                      .channel = image * c + first,
                      .n = n,
                      .stride = c,
                      .width = (int)(left < TL_NORM_WIDTH ? left : TL_NORM_WIDTH)};
}

#endif
