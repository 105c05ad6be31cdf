/* Squeeze-and-excite (Hu et al. 2018): x is pooled, and multiplied by what a small network makes
 * of its means. In backward the product comes first and knows dy * factor, the pool comes last and
 * knows its share: it writes the sum of both, and x's gradient passes through memory once. */
#include "plan/internal.h"

static bool reads(const tl_step *step, const tl_tensor *tensor)
{
    for (int k = 0; k < step->n_src; k++)
        if (step->src[k] == tensor)
            return true;
    return false;
}

/* The next reader of the pool's source, where it is x * (N, 1, 1, C), the first in backward to
 * reach x's gradient; NULL otherwise. */
static tl_step *product_behind(const tl_plan *plan, int pool)
{
    tl_tensor *x = plan->steps[pool].src[0];
    int i = pool + 1;
    while (i < plan->n_steps && !reads(&plan->steps[i], x))
        i++;
    tl_step *step = &plan->steps[i];
    if (i == plan->n_steps || step->node == NULL || step->node->kind != TL_OP_multiply ||
        step->n_src != 2 || step->src[0] != x || step->diff_src[0] == NULL || step->accumulate[0])
        return NULL;
    const int64_t *factor = step->src[1]->dims; /* of rank 4, like x */
    return factor[1] == 1 && factor[2] == 1 && factor[3] == x->dims[3] ? step : NULL;
}

/* Does a step between the two write over the product's dy, which shares its memory with others? */
static bool is_overwritten(const tl_plan *plan, int pool, const tl_step *product)
{
    const tl_tensor *dy = tl_tensor_root(product->dst->diff);
    for (const tl_step *step = &plan->steps[pool + 1]; step < product; step++)
        for (int k = 0; k < step->n_src; k++)
            if (step->diff_src[k] != NULL && (tl_tensor_root(step->diff_src[k]) == dy ||
                                              tl_tensor_root(step->src[k]->diff) == dy))
                return true;
    return false;
}

void tl_plan_join_products(tl_plan *plan)
{
    for (int i = 0; i < plan->n_steps; i++) {
        tl_step *pool = &plan->steps[i];
        if (pool->node == NULL || pool->node->kind != TL_OP_global_avg_pool || !pool->training ||
            pool->diff_src[0] == NULL)
            continue;
        tl_step *product = product_behind(plan, i);
        if (product == NULL || !product->training || is_overwritten(plan, i, product))
            continue;
        product->diff_src[0] = NULL;
        pool->accumulate[0] = false;
        pool->product = product;
    }
}
