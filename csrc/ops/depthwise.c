#include "ops/depthwise.h"

#include "kernels/depthwise.h"

#define MAX_BLOCK 16

bool tl_depthwise_fits(const tl_step *step)
{
    const tl_node *node = step->node;
    const int64_t *k = node->weights[0]->dims;
    const tl_attrs *a = &node->attrs;
    return node->kind == TL_OP_depthwise_conv2d && k[3] == 1 && k[1] > 3 &&
           k[0] * k[1] <= TL_DEPTHWISE_MAX && a->dilation[0] == 1 && a->dilation[1] == 1 &&
           step->src[0]->layout == TL_LAYOUT_BLOCKED && step->dst->layout == TL_LAYOUT_BLOCKED;
}

static tl_depthwise_shape shape_of(const tl_step *step)
{
    const int64_t *src = step->src[0]->dims, *dst = step->dst->dims;
    const int64_t *k = step->node->weights[0]->dims;
    const tl_attrs *a = &step->node->attrs;
    return (tl_depthwise_shape){src[1],
                                src[2],
                                dst[1],
                                dst[2],
                                k[0],
                                k[1],
                                a->strides[0],
                                a->strides[1],
                                a->pads[0],
                                a->pads[2],
                                step->src[0]->block};
}

/* first: of the channel block in the first image's gradient. */
static void write_bias(const tl_step *step, int64_t first, int64_t images, int64_t run,
                       int64_t positions, int64_t channel, int64_t real, int64_t block)
{
    for (int64_t k = 0; k < real; k++) {
        double sum = 0;
        for (int64_t n = 0; n < images; n++)
            for (int64_t p = 0; p < positions; p++)
                sum += tl_tensor_get(step->dst->diff, first + n * run + p * block + k);
        step->diff_weights[1][channel + k] = (float)sum;
    }
}

void tl_depthwise_backward_weights(const tl_step *step)
{
    const tl_tensor *src = step->kept_src[0], *diff_dst = step->dst->diff;
    tl_depthwise_weights_fn add_image = tl_depthwise_weights(src->dtype);
    tl_depthwise_shape s = shape_of(step);
    tl_channels w = tl_tensor_channels(step->src[0]);
    int64_t src_plane = s.h * s.w * s.block, dst_plane = s.out_h * s.out_w * s.block;
    int64_t taps = s.kernel_h * s.kernel_w;
#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < w.blocks; b++) { /* one thread sums a channel, image after image */
        float sum[TL_DEPTHWISE_MAX * MAX_BLOCK] = {0};
        int64_t channel = b * s.block, real = w.n - channel < s.block ? w.n - channel : s.block;
        for (int64_t n = 0; n < w.outer; n++)
            add_image(&s, tl_tensor_at(src, (n * w.blocks + b) * src_plane),
                      tl_tensor_at(diff_dst, (n * w.blocks + b) * dst_plane), sum);
        for (int64_t t = 0; step->wants_diff_weights[0] && t < taps; t++)
            for (int64_t k = 0; k < real; k++)
                step->diff_weights[0][t * w.n + channel + k] = sum[t * s.block + k];
        if (step->wants_diff_weights[1])
            write_bias(step, b * dst_plane, w.outer, w.blocks * dst_plane, s.out_h * s.out_w,
                       channel, real, s.block);
    }
}
