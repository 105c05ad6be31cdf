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

static bool is_binary(tl_loss_kind kind)
{
    return kind == TL_LOSS_binary_crossentropy || kind == TL_LOSS_binary_focal_crossentropy;
}

/* Losses that look behind a final softmax (the binary cross-entropy too, as in Keras). */
static bool looks_behind_softmax(tl_loss_kind kind)
{
    return kind == TL_LOSS_categorical_crossentropy ||
           kind == TL_LOSS_sparse_categorical_crossentropy || kind == TL_LOSS_binary_crossentropy;
}

int tl_loss_source(const tl_graph *graph, int output, tl_loss_kind kind, bool *from_logits)
{
    const tl_node *node = &graph->nodes[output];
    if (node->kind != TL_OP_activation)
        return output;
    bool softmax = node->attrs.kind == TL_ACT_softmax && looks_behind_softmax(kind);
    bool sigmoid = node->attrs.kind == TL_ACT_sigmoid && is_binary(kind);
    if (!softmax && !sigmoid)
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
    if (is_binary(loss->kind))
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
        diff[c] +=
            (float)(scale * (exp(z[c] - log_sum) * mass - target_of(loss, targets, label, c, n)));
    return value;
}

/* From probabilities: -sum_c y_c log q_c. categorical: q = p / sum(p), clipped. sparse: the
 * clipped logs are normalised again by a softmax, q = clip(p) / sum(clip(p)). Nothing flows where
 * a value is clipped. */
static double probability_row(const tl_loss *loss, const float *p, const float *targets,
                              int64_t label, int64_t n, double scale, float *diff)
{
    bool sparse = loss->kind == TL_LOSS_sparse_categorical_crossentropy;
    double sum = 0, value = 0, mass = 0;
    for (int64_t c = 0; c < n; c++)
        sum += sparse ? clipped(p[c]) : p[c];
    for (int64_t c = 0; c < n; c++) {
        double y = target_of(loss, targets, label, c, n), q = p[c] / sum;
        value -= y * log(sparse ? clipped(p[c]) / sum : clipped(q));
        mass += sparse || clipped(q) == q ? y : 0;
    }
    for (int64_t c = 0; diff != NULL && c < n; c++) {
        double y = target_of(loss, targets, label, c, n), q = p[c] / sum;
        bool inside = sparse ? clipped(p[c]) == p[c] : clipped(q) == q;
        double own = inside ? y / p[c] : 0, shared = inside || !sparse ? mass / sum : 0;
        diff[c] += (float)(scale * (shared - own));
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
            diff[c] += (float)(scale / (double)n * (1 / (1 + exp(-x)) - y));
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
            diff[c] += q == p[c] ? (float)(scale / (double)n * ((1 - y) / (1 - q) - y / q)) : 0.f;
    }
    return value / (double)n;
}

/* (1 - p_t)^gamma times the cross-entropy, p_t = p of the true answer; mean over the row. */
static double binary_focal_row(const tl_loss *loss, const float *x, const float *targets,
                               int64_t n, double scale, float *diff)
{
    double value = 0, gamma = loss->gamma;
    for (int64_t c = 0; c < n; c++) {
        double y = target_of(loss, targets, 0, c, n), z = x[c];
        double p = loss->from_logits ? 1 / (1 + exp(-z)) : z, q = clipped(p);
        double entropy = loss->from_logits ? fmax(z, 0) - z * y + log1p(exp(-fabs(z)))
                                           : -(y * log(q) + (1 - y) * log(1 - q));
        double miss = 1 - (y * p + (1 - y) * (1 - p)), factor = pow(miss, gamma);
        double balance = loss->balanced ? y * loss->alpha + (1 - y) * (1 - loss->alpha) : 1;
        value += balance * factor * entropy;
        if (diff == NULL)
            continue;
        double slope_p = miss > 0 ? gamma * factor / miss * (1 - 2 * y) * entropy : 0;
        double slope = loss->from_logits ? slope_p * p * (1 - p) + factor * (p - y)
                       : q == p          ? slope_p + factor * ((1 - y) / (1 - q) - y / q)
                                         : slope_p;
        diff[c] += (float)(scale / (double)n * balance * slope);
    }
    return value / (double)n;
}

/* sum_c alpha (1 - q_c)^gamma * -y_c log q_c with q = p / sum(p), clipped; p = softmax of logits.
 */
static double categorical_focal_row(const tl_loss *loss, const float *x, const float *targets,
                                    int64_t n, double scale, float *diff)
{
    double top = x[0], sum = 0, value = 0, inner = 0;
    for (int64_t c = 1; c < n; c++)
        top = x[c] > top ? x[c] : top;
    for (int64_t c = 0; c < n; c++)
        sum += loss->from_logits ? exp(x[c] - top) : x[c];
    for (int pass = 0; pass < (diff != NULL ? 2 : 1); pass++)
        for (int64_t c = 0; c < n; c++) {
            double r = (loss->from_logits ? exp(x[c] - top) : x[c]) / sum, q = clipped(r);
            double y = target_of(loss, targets, 0, c, n), factor = pow(1 - q, loss->gamma);
            double slope =
                q == r ? loss->alpha * y * (loss->gamma * factor / (1 - q) * log(q) - factor / q)
                       : 0;
            if (pass == 0) {
                value -= loss->alpha * factor * y * log(q);
                inner += slope * r;
            } else {
                diff[c] += (float)(scale * (slope - inner) * (loss->from_logits ? r : 1 / sum));
            }
        }
    return value;
}

/* One element of the losses that are a mean over the row; *slope is the derivative in x. */
static double element(const tl_loss *loss, double x, double y, double *slope)
{
    double d = x - y, size = fabs(d), sign = (d > 0) - (d < 0), other;
    switch (loss->kind) {
        case TL_LOSS_mean_squared_error:
            *slope = 2 * d;
            return d * d;
        case TL_LOSS_mean_absolute_percentage_error:
            other = 100 / fmax(fabs(y), EPSILON);
            *slope = sign * other;
            return size * other;
        case TL_LOSS_mean_squared_logarithmic_error:
            other = log(fmax(x, EPSILON) + 1) - log(fmax(y, EPSILON) + 1);
            *slope = x >= EPSILON ? 2 * other / (x + 1) : 0;
            return other * other;
        case TL_LOSS_huber:
            *slope = size <= loss->delta ? d : sign * loss->delta;
            return size <= loss->delta ? d * d / 2 : loss->delta * (size - loss->delta / 2);
        case TL_LOSS_log_cosh:
            *slope = tanh(d);
            return size + log1p(exp(-2 * size)) - log(2);
        case TL_LOSS_poisson:
            *slope = 1 - y / (x + EPSILON);
            return x - y * log(x + EPSILON);
        case TL_LOSS_hinge:
            *slope = x * y < 1 ? -y : 0;
            return fmax(1 - x * y, 0);
        case TL_LOSS_squared_hinge:
            other = fmax(1 - x * y, 0);
            *slope = -2 * y * other;
            return other * other;
        default: /* mean_absolute_error */
            *slope = sign;
            return size;
    }
}

static double mean_row(const tl_loss *loss, const float *x, const float *targets, int64_t n,
                       bool signs, double scale, float *diff)
{
    double value = 0, slope;
    for (int64_t c = 0; c < n; c++) {
        value += element(loss, x[c], signs ? 2 * targets[c] - 1 : targets[c], &slope);
        if (diff != NULL)
            diff[c] += (float)(scale / (double)n * slope);
    }
    return value / (double)n;
}

/* Best wrong output - right output + 1, if positive; ties share the gradient, as in TensorFlow. */
static double categorical_hinge_row(const float *x, const float *y, int64_t n, double scale,
                                    float *diff)
{
    double right = 0, wrong = -INFINITY;
    int64_t ties = 0;
    for (int64_t c = 0; c < n; c++) {
        double other = (1 - (double)y[c]) * x[c];
        right += (double)y[c] * x[c];
        ties = other > wrong ? 1 : ties + (other == wrong);
        wrong = fmax(other, wrong);
    }
    double value = wrong - right + 1;
    for (int64_t c = 0; diff != NULL && c < n; c++) {
        double share = (1 - (double)y[c]) * x[c] == wrong ? (1 - y[c]) / (double)ties : 0;
        diff[c] += value > 0 ? (float)(scale * (share - y[c])) : 0.f;
    }
    return fmax(value, 0);
}

static double divergence_row(const float *x, const float *targets, int64_t n, double scale,
                             float *diff)
{
    double value = 0;
    for (int64_t c = 0; c < n; c++) {
        double y = fmin(fmax(targets[c], EPSILON), 1), p = fmin(fmax(x[c], EPSILON), 1);
        value += y * log(y / p);
        if (diff != NULL)
            diff[c] += p == x[c] ? (float)(scale * -y / p) : 0.f;
    }
    return value;
}

/* -cos(x, y); norms are at least EPSILON. */
static double cosine_row(const float *x, const float *y, int64_t n, double scale, float *diff)
{
    double xx = 0, yy = 0, xy = 0;
    for (int64_t c = 0; c < n; c++) {
        xx += (double)x[c] * x[c];
        yy += (double)y[c] * y[c];
        xy += (double)x[c] * y[c];
    }
    double x_norm = fmax(sqrt(xx), EPSILON), y_norm = fmax(sqrt(yy), EPSILON);
    double along = sqrt(xx) > EPSILON ? xy / (xx * x_norm * y_norm) : 0;
    for (int64_t c = 0; diff != NULL && c < n; c++)
        diff[c] += (float)(scale * (x[c] * along - y[c] / (x_norm * y_norm)));
    return -xy / (x_norm * y_norm);
}

/* Hinge losses take labels 0 and 1 for -1 and 1 if there are no others in the batch. */
static bool takes_signs(const tl_loss *loss, const float *targets, int64_t count)
{
    if (loss->kind != TL_LOSS_hinge && loss->kind != TL_LOSS_squared_hinge)
        return false;
    for (int64_t i = 0; i < count; i++)
        if (targets[i] != 0 && targets[i] != 1)
            return false;
    return true;
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
    bool signs = takes_signs(loss, targets, rows * n);
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
            case TL_LOSS_binary_focal_crossentropy:
                value = binary_focal_row(loss, x, y, n, scale, d);
                break;
            case TL_LOSS_categorical_focal_crossentropy:
                value = categorical_focal_row(loss, x, y, n, scale, d);
                break;
            case TL_LOSS_categorical_hinge:
                value = categorical_hinge_row(x, y, n, scale, d);
                break;
            case TL_LOSS_kl_divergence:
                value = divergence_row(x, y, n, scale, d);
                break;
            case TL_LOSS_cosine_similarity:
                value = cosine_row(x, y, n, scale, d);
                break;
            default:
                value = mean_row(loss, x, y, n, signs, scale, d);
        }
        sum += w * value;
    }
    *total += sum / (double)rows;
    return TL_OK;
}
