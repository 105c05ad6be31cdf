#include "optimizer.h"

#include <math.h>
#include <stddef.h>

/* Blocks of this many elements are summed one after the other: norms do not depend on the number
 * of threads. */
#define BLOCK 4096

static double squared_norm(const float *x, size_t n)
{
    double total = 0;
    for (size_t at = 0; at < n; at += BLOCK) {
        double sum = 0;
        for (size_t i = at; i < n && i < at + BLOCK; i++)
            sum += (double)x[i] * x[i];
        total += sum;
    }
    return total;
}

static void scale(float *x, size_t n, float factor)
{
    for (size_t i = 0; i < n; i++)
        x[i] *= factor;
}

static void regularize(const tl_update *u)
{
    const float *w = u->variable->data;
    if (u->l1 == 0.f && u->l2 == 0.f)
        return;
    for (size_t i = 0; i < u->variable->size; i++)
        u->gradient[i] += 2.f * u->l2 * w[i] + u->l1 * (float)((w[i] > 0.f) - (w[i] < 0.f));
}

/* NaN stays: it is to be seen. */
static void clip_values(float *x, size_t n, float limit)
{
    for (size_t i = 0; i < n; i++)
        x[i] = x[i] < -limit ? -limit : x[i] > limit ? limit : x[i];
}

static void clip(const tl_optimizer *o, const tl_update *updates, int n)
{
    double all = 0;
    for (int i = 0; i < n; i++) {
        const tl_update *u = &updates[i];
        size_t size = u->variable->size;
        if (u->gradient == NULL)
            continue;
        if (o->clipvalue > 0.f)
            clip_values(u->gradient, size, o->clipvalue);
        if (o->clipnorm > 0.f || o->global_clipnorm > 0.f) {
            double squares = squared_norm(u->gradient, size);
            all += squares;
            if (o->clipnorm > 0.f && sqrt(squares) > o->clipnorm)
                scale(u->gradient, size, (float)(o->clipnorm / sqrt(squares)));
        }
    }
    if (o->global_clipnorm <= 0.f || sqrt(all) <= o->global_clipnorm)
        return;
    for (int i = 0; i < n; i++)
        if (updates[i].gradient != NULL)
            scale(updates[i].gradient, updates[i].variable->size,
                  (float)(o->global_clipnorm / sqrt(all)));
}

static void sgd(const tl_optimizer *o, const tl_update *u, size_t i, float lr)
{
    float *w = &u->variable->data[i], g = u->gradient[i];
    if (o->momentum == 0.f) {
        *w -= lr * g;
        return;
    }
    float *m = &u->slots[0]->data[i];
    *m = *m * o->momentum - g * lr;
    *w += o->nesterov ? *m * o->momentum - g * lr : *m;
}

/* alpha = lr * sqrt(1 - b2^t) / (1 - b1^t); epsilon is added after that folding (Keras). */
static void adam(const tl_optimizer *o, const tl_update *u, size_t i, float alpha)
{
    float *w = &u->variable->data[i], g = u->gradient[i];
    float *m = &u->slots[0]->data[i], *v = &u->slots[1]->data[i];
    *m += (g - *m) * (1.f - o->beta_1);
    *v += (g * g - *v) * (1.f - o->beta_2);
    float velocity = *v;
    if (o->amsgrad) {
        float *top = &u->slots[2]->data[i];
        *top = velocity > *top ? velocity : *top;
        velocity = *top;
    }
    *w -= *m * alpha / (sqrtf(velocity) + o->epsilon);
}

static void rmsprop(const tl_optimizer *o, const tl_update *u, size_t i, float lr)
{
    float *w = &u->variable->data[i], g = u->gradient[i], *v = &u->slots[0]->data[i];
    *v = o->rho * *v + (1.f - o->rho) * g * g;
    float denominator = *v + o->epsilon;
    if (o->centered) {
        float *mean = &u->slots[2]->data[i];
        *mean = o->rho * *mean + (1.f - o->rho) * g;
        denominator = *v - *mean * *mean + o->epsilon;
    }
    float increment = lr * g / sqrtf(denominator);
    if (o->momentum > 0.f) {
        float *m = &u->slots[1]->data[i];
        *m = o->momentum * *m + increment;
        increment = *m;
    }
    *w -= increment;
}

static void update_one(const tl_optimizer *o, const tl_update *u, float lr, float alpha)
{
    size_t n = u->variable->size;
    float *w = u->variable->data;
#pragma omp parallel for if (n > 1 << 14)
    for (size_t i = 0; i < n; i++) {
        if (u->decays)
            w[i] -= w[i] * o->weight_decay * lr;
        if (o->kind == TL_SGD)
            sgd(o, u, i, lr);
        else if (o->kind == TL_ADAM)
            adam(o, u, i, alpha);
        else
            rmsprop(o, u, i, lr);
    }
    tl_variable_touch(u->variable);
}

void tl_optimizer_step(const tl_optimizer *optimizer, const tl_update *updates, int n,
                       float learning_rate, int64_t iteration)
{
    for (int i = 0; i < n; i++)
        if (updates[i].gradient != NULL)
            regularize(&updates[i]);
    clip(optimizer, updates, n);
    double t = (double)iteration + 1;
    float alpha = learning_rate;
    if (optimizer->kind == TL_ADAM)
        alpha = learning_rate *
                (float)(sqrt(1 - pow(optimizer->beta_2, t)) / (1 - pow(optimizer->beta_1, t)));
    for (int i = 0; i < n; i++)
        if (updates[i].gradient != NULL)
            update_one(optimizer, &updates[i], learning_rate * updates[i].rate,
                       alpha * updates[i].rate);
}
