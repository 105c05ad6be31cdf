// The times of a network's convolution primitives alone, each in its best layout: the limit that
// every framework shares which computes them directly. No other work, no change of layout, best of
// several runs of each.
//
//     convolution_limit BATCH SHAPES f32|bf16
//
// SHAPES has a line for each kind of convolution, as limit.py writes it from a model: c or d
// (depthwise), channels in and out, height and width in and out, kernel, stride, padding before,
// how many there are. Prints milliseconds of a training step (forward, both gradients; of the
// first convolution none back to the images), then of the forward pass of inference.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <unordered_map>

#include "oneapi/dnnl/dnnl.hpp"

using namespace dnnl;
using tag = memory::format_tag;
using dt = memory::data_type;
using arguments = std::unordered_map<int, memory>;

static engine cpu(engine::kind::cpu, 0);
static stream runs(cpu);

static double now()
{
    auto t = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration<double>(t).count();
}

static memory filled(const memory::desc &desc, dt type)
{
    memory made(desc, cpu);
    size_t bytes = desc.get_size();
    void *data = made.get_data_handle();
    if (type == dt::bf16)
        for (size_t i = 0; i < bytes / 2; i++)
            static_cast<unsigned short *>(data)[i] = 0x3f80 + i % 17;  // 1 and a little
    else
        for (size_t i = 0; i < bytes / 4; i++)
            static_cast<float *>(data)[i] = (i % 17) * 0.1f;
    return made;
}

template <class Primitive>
static double best_of_five(const Primitive &primitive, const arguments &a)
{
    double best = 1e9;
    for (int i = 0; i < 5; i++) {
        double start = now();
        primitive.execute(runs, a);
        runs.wait();
        best = std::min(best, now() - start);
    }
    return best;
}

struct shape {
    char kind;
    int in, out, h, w, out_h, out_w, kernel_h, kernel_w, stride, top, left, count;
};

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    int n = atoi(argv[1]);
    dt type = strcmp(argv[3], "bf16") == 0 ? dt::bf16 : dt::f32;
    FILE *file = fopen(argv[2], "r");
    if (file == nullptr)
        return 2;
    double step = 0, inference = 0;
    shape s;
    while (fscanf(file, " %c %d %d %d %d %d %d %d %d %d %d %d %d", &s.kind, &s.in, &s.out, &s.h,
                  &s.w, &s.out_h, &s.out_w, &s.kernel_h, &s.kernel_w, &s.stride, &s.top, &s.left,
                  &s.count) == 13) {
        bool first = s.in == 3;
        memory::dims strides = {s.stride, s.stride}, before = {s.top, s.left};
        memory::dims after = {std::max((s.out_h - 1) * s.stride + s.kernel_h - s.h - s.top, 0),
                              std::max((s.out_w - 1) * s.stride + s.kernel_w - s.w - s.left, 0)};
        memory::dims kernel = s.kind == 'd' ? memory::dims{s.in, 1, 1, s.kernel_h, s.kernel_w}
                                            : memory::dims{s.out, s.in, s.kernel_h, s.kernel_w};
        // Images go into a blocked convolution as nchw, into one in nhwc as nhwc: the other pairs
        // have only a reference loop.
        memory::desc src({n, s.in, s.h, s.w}, type, first ? tag::nchw : tag::nChw16c);
        memory::desc dst({n, s.out, s.out_h, s.out_w}, type, tag::nChw16c);
        memory::desc weights(kernel, type, tag::any), diff_weights(kernel, dt::f32, tag::any);
        auto direct = algorithm::convolution_direct;

        convolution_forward::primitive_desc forward(cpu, prop_kind::forward_training, direct, src,
                                                    weights, dst, strides, before, after);
        memory x = filled(src, type), y = filled(dst, type);
        memory w = filled(forward.weights_desc(), type);
        double seconds =
            best_of_five(convolution_forward(forward),
                         {{DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, w}, {DNNL_ARG_DST, y}});
        double best_forward = seconds;
        if (!first) {
            convolution_backward_data::primitive_desc data(cpu, direct, src, weights, dst, strides,
                                                           before, after, forward);
            memory v = filled(data.weights_desc(), type);
            seconds += best_of_five(
                convolution_backward_data(data),
                {{DNNL_ARG_DIFF_SRC, x}, {DNNL_ARG_WEIGHTS, v}, {DNNL_ARG_DIFF_DST, y}});
        }
        convolution_backward_weights::primitive_desc gradient(cpu, direct, src, diff_weights, dst,
                                                              strides, before, after, forward);
        memory g(gradient.diff_weights_desc(), cpu);
        seconds +=
            best_of_five(convolution_backward_weights(gradient),
                         {{DNNL_ARG_SRC, x}, {DNNL_ARG_DIFF_WEIGHTS, g}, {DNNL_ARG_DIFF_DST, y}});
        step += seconds * s.count;

        memory::desc src_nhwc({n, s.in, s.h, s.w}, type, tag::nhwc);
        memory::desc dst_nhwc({n, s.out, s.out_h, s.out_w}, type, tag::nhwc);
        convolution_forward::primitive_desc plain(cpu, prop_kind::forward_inference, direct,
                                                  src_nhwc, weights, dst_nhwc, strides, before,
                                                  after);
        memory px = filled(src_nhwc, type), py = filled(dst_nhwc, type);
        memory pw = filled(plain.weights_desc(), type);
        best_forward = std::min(
            best_forward,
            best_of_five(convolution_forward(plain),
                         {{DNNL_ARG_SRC, px}, {DNNL_ARG_WEIGHTS, pw}, {DNNL_ARG_DST, py}}));
        inference += best_forward * s.count;
    }
    fclose(file);
    printf("%.2f %.2f\n", step * 1e3, inference * 1e3);
}
