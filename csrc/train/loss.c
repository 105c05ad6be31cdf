#include "loss.h"

#include <math.h>

/* Keras' backend epsilon: probabilities are clipped to [EPSILON, 1 - EPSILON]. */
#define EPSILON 1e-7

static const char *const names[] = {
#define X(name) #name,
#include "train/loss.def"
#undef X
};

const char *tl_loss_name(tl_loss_kind kind)
{
    return names[kind];
}

static bool is_crossentropy(tl_loss_kind kind)
{
    return kind == TL_LOSS_categorical_crossentropy ||
           kind == TL_LOSS_sparse_categorical_crossentropy || kind == TL_LOSS_binary_crossentropy;
}

int tl_loss_source(const tl_graph *graph, int output, tl_loss_kind kind, bool *from_logits)
{
    const tl_node *node = &graph->nodes[output];
    if (!is_crossentropy(kind) || node->kind != TL_OP_activation)
        return output;
    bool sigmoid_fits = kind == TL_LOSS_binary_crossentropy;
    if (node->attrs.kind != TL_ACT_softmax &&
        !(sigmoid_fits && node->attrs.kind == TL_ACT_sigmoid))
        return output;
    *from_logits = true;
    return node->src[0];
}

static double clipped(double p)
{
    return p < EPSILON ? EPSILON : p > 1 - EPSILON ? 1 - EPSILON : p;
}

/* Smoothed target of class c. */
static double target_of(const tl_loss *loss, const float *targets, int64_t label, int64_t c,
                        int64_t n)
{
    if (targets == NULL)
        return c == label;
    double y = targets[c], s = loss->label_smoothing;
    if (loss->kind == TL_LOSS_binary_crossentropy)
        return y * (1 - s) + 0.5 * s;
    return y * (1 - s) + s / (double)n;
}

/* -sum_c y_c log softmax(z)_c; gradient softmax(z) * sum(y) - y. */
static double softmax_row(const tl_loss *loss, const float *z, const float *targets, int64_t label,
                          int64_t n, double scale, float *diff)
{
    double top = z[0], sum = 0, value = 0, mass = 0;
    for (int64_t c = 1; c < n; c++)
        top = z[c] > top ? z[c] : top;
    for (int64_t c = 0; c < n; c++)
        sum += exp(z[c] - top);
    double log_sum = log(sum) + top;
    for (int64_t c = 0; c < n; c++) {
        double y = target_of(loss, targets, label, c, n);
        value += y * (log_sum - z[c]);
        mass += y;
    }
    for (int64_t c = 0; diff != NULL && c < n; c++)
        diff[c] =
            (float)(scale * (exp(z[c] - log_sum) * mass - target_of(loss, targets, label, c, n)));
    return value;
}

/* From probabilities: p / sum(p) (not for the sparse loss, whose clipped logs are normalised again
 * by a softmax), clipped, -sum_c y_c log p_c. */
static double probability_row(const tl_loss *loss, const float *p, const float *targets,
                              int64_t label, int64_t n, double scale, float *diff)
{
    double sum = 0, value = 0, mass = 0;
    for (int64_t c = 0; c < n; c++)
        sum += loss->kind == TL_LOSS_categorical_crossentropy ? p[c] : clipped(p[c]);
    for (int64_t c = 0; c < n; c++) {
        double y = target_of(loss, targets, label, c, n);
        double q = loss->kind == TL_LOSS_categorical_crossentropy ? clipped(p[c] / sum)
                                                                  : clipped(p[c]) / sum;
        value -= y * log(q);
        mass += y;
    }
    for (int64_t c = 0; diff != NULL && c < n; c++) {
        double y = target_of(loss, targets, label, c, n);
        bool inside = p[c] / sum > EPSILON && p[c] / sum < 1 - EPSILON;
        diff[c] = (float)(scale * (inside ? mass / sum - y / p[c] : 0));
    }
    return value;
}

/* Mean over the row of max(z, 0) - z y + log(1 + exp(-|z|)). */
static double sigmoid_row(const tl_loss *loss, const float *z, const float *targets, int64_t n,
                          double scale, float *diff)
{
    double value = 0;
    for (int64_t c = 0; c < n; c++) {
        double y = target_of(loss, targets, 0, c, n), x = z[c];
        value += fmax(x, 0) - x * y + log1p(exp(-fabs(x)));
        if (diff != NULL)
            diff[c] = (float)(scale / (double)n * (1 / (1 + exp(-x)) - y));
    }
    return value / (double)n;
}

static double bernoulli_row(const tl_loss *loss, const float *p, const float *targets, int64_t n,
                            double scale, float *diff)
{
    double value = 0;
    for (int64_t c = 0; c < n; c++) {
        double y = target_of(loss, targets, 0, c, n), q = clipped(p[c]);
        value -= y * log(q) + (1 - y) * log(1 - q);
        if (diff != NULL)
            diff[c] = q == p[c] ? (float)(scale / (double)n * ((1 - y) / (1 - q) - y / q)) : 0.f;
    }
    return value / (double)n;
}

static double distance_row(const tl_loss *loss, const float *x, const float *targets, int64_t n,
                           double scale, float *diff)
{
    double value = 0;
    bool squared = loss->kind == TL_LOSS_mean_squared_error;
    for (int64_t c = 0; c < n; c++) {
        double d = (double)x[c] - targets[c];
        value += squared ? d * d : fabs(d);
        if (diff != NULL)
            diff[c] = (float)(scale / (double)n * (squared ? 2 * d : (d > 0) - (d < 0)));
    }
    return value / (double)n;
}

static tl_status check_label(float label, int64_t n, int64_t row, tl_error *err)
{
    if (label >= 0 && label < (float)n && label == floorf(label))
        return TL_OK;
    return tl_fail(err, TL_ARG,
                   "sparse_categorical_crossentropy: label %g of sample %lld; the model has %lld "
                   "outputs, allowed: 0 to %lld",
                   (double)label, (long long)row, (long long)n, (long long)n - 1);
}

tl_status tl_loss_compute(const tl_loss *loss, const float *pred, const float *targets,
                          const float *sample_weight, int64_t rows, int64_t n, float *diff,
                          double *total, tl_error *err)
{
    double sum = 0;
    for (int64_t r = 0; r < rows; r++) {
        const float *x = pred + r * n, *y = targets + r * n;
        float *d = diff != NULL ? diff + r * n : NULL;
        double w = sample_weight != NULL ? sample_weight[r] : 1.0;
        double scale = w * loss->weight / (double)rows, value = 0;
        int64_t label = 0;
        switch (loss->kind) {
            case TL_LOSS_sparse_categorical_crossentropy:
                TL_TRY(check_label(targets[r], n, r, err));
                label = (int64_t)targets[r];
                y = NULL;
                __attribute__((fallthrough));
            case TL_LOSS_categorical_crossentropy:
                value = loss->from_logits ? softmax_row(loss, x, y, label, n, scale, d)
                                          : probability_row(loss, x, y, label, n, scale, d);
                break;
            case TL_LOSS_binary_crossentropy:
                value = loss->from_logits ? sigmoid_row(loss, x, y, n, scale, d)
                                          : bernoulli_row(loss, x, y, n, scale, d);
                break;
            default:
                value = distance_row(loss, x, y, n, scale, d);
        }
        sum += w * value;
    }
    *total += sum / (double)rows;
    return TL_OK;
}
