/* Body of the peak measurement, included by peak.c behind vector_body.h: enough sums side by side
 * to hide the latency of a multiply-add, all in registers. Returns what keeps it from being left
 * out. */
static float NAME(sums)(int64_t rounds)
{
    VEC sum[SUMS], a = (VEC){0} + .5f, b = (VEC){0} + (float)rounds;
#pragma GCC unroll 16
    for (int i = 0; i < SUMS; i++)
        sum[i] = (VEC){0} + (float)i;
    for (int64_t r = 0; r < rounds; r++)
#pragma GCC unroll 16
        for (int i = 0; i < SUMS; i++)
            sum[i] = sum[i] * a + b;
    float all = 0;
#pragma GCC unroll 16
    for (int i = 0; i < SUMS; i++)
        all += sum[i][0];
    return all;
}

static const peak_kernel NAME(kernel) = {NAME(sums), 2 * SUMS *WIDTH};

#undef VEC
#undef MASK
#undef WIDTH
#undef NAME
