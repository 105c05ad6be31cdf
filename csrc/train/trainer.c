#include "trainer.h"

#include <string.h>

/* Losses add their gradients: two of them may be computed from one value. */
static void clear_seeds(tl_plan *plan, int n_losses)
{
    for (int i = 0; i < n_losses; i++) {
        int64_t rows, n;
        tl_plan_seed_shape(plan, i, &rows, &n);
        if (tl_plan_seed(plan, i) != NULL)
            memset(tl_plan_seed(plan, i), 0, (size_t)(rows * n) * sizeof(float));
    }
}

tl_status tl_train_step(tl_plan *plan, const tl_loss *losses, int n_losses,
                        const tl_optimizer *optimizer, const tl_update *updates, int n_updates,
                        const tl_train_args *args, tl_error *err)
{
    TL_TRY(tl_plan_forward(plan, args->feeds, args->outputs, args->seed, err));
    if (updates != NULL)
        clear_seeds(plan, n_losses);
    for (int i = 0; i < n_losses; i++) {
        int64_t rows, n;
        tl_plan_seed_shape(plan, i, &rows, &n);
        args->losses[i] = 0;
        TL_TRY(tl_loss_compute(
            &losses[i], tl_plan_seed_value(plan, i), args->targets[i], args->sample_weights[i],
            rows, n, updates != NULL ? tl_plan_seed(plan, i) : NULL, &args->losses[i], err));
    }
    if (updates == NULL)
        return TL_OK;
    TL_TRY(tl_plan_backward(plan, err));
    if (optimizer == NULL)
        return TL_OK;
    tl_optimizer_step(optimizer, updates, n_updates, args->learning_rate, args->iteration);
    tl_plan_update_statistics(plan);
    return TL_OK;
}
