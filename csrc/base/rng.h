/* Counter-based random numbers: a value depends only on (seed, stream, counter), never on which
 * thread asks or in which order, so augmentation and dropout are equal for any thread count and a
 * run can be resumed from three integers. The mixer is SplitMix64's finaliser (Steele, Lea, Flood,
 * OOPSLA 2014), applied to each word in turn. */
#ifndef TL_BASE_RNG_H
#define TL_BASE_RNG_H

#include <stdint.h>

static inline uint64_t tl_rng_mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static inline uint64_t tl_rng_u64(uint64_t seed, uint64_t stream, uint64_t counter)
{
    return tl_rng_mix(tl_rng_mix(tl_rng_mix(seed) ^ stream) ^ counter);
}

/* Uniform in [0, 1), 24 bits: every value is a float. */
static inline float tl_rng_uniform(uint64_t seed, uint64_t stream, uint64_t counter)
{
    return (float)(tl_rng_u64(seed, stream, counter) >> 40) * 0x1p-24f;
}

#endif
