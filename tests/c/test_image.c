/* test_image FILE...: decodes and resizes every file in every way, whole, cut off and with flipped
 * bits, then with the n-th allocation failing. Built with sanitizers by tests/test_c.py. */
#include "base/alloc.h"
#include "base/rng.h"
#include "check.h"
#include "image/decode.h"
#include "image/file.h"
#include "image/resize.h"

#define WIDTH 13
#define HEIGHT 17

typedef struct machine {
    tl_decoder decoder;
    tl_resizer resizer;
    float out[HEIGHT * WIDTH * 4];
    uint8_t out_u8[HEIGHT * WIDTH * 4];
} machine;

static void deinit(machine *m)
{
    tl_decoder_deinit(&m->decoder);
    tl_resizer_deinit(&m->resizer);
}

static tl_status decode(machine *m, const uint8_t *data, size_t size, int channels,
                        tl_pipeline pipeline, tl_pixels *pixels, tl_error *err)
{
    tl_decode_options options = {.channels = channels,
                                 .pipeline = pipeline,
                                 .max_pixels = 1 << 20,
                                 .target_width = WIDTH / 4,
                                 .target_height = HEIGHT / 4};
    tl_image image;
    TL_TRY(tl_decoder_decode(&m->decoder, data, size, &options, &image, err));
    CHECK(image.channels == channels && image.width >= 1 && image.height >= 1);
    *pixels =
        (tl_pixels){image.width, image.height, channels, false, (size_t)(image.width * channels),
                    image.pixels};
    /* touch every pixel: uninitialised or missing memory shows in a sanitizer */
    unsigned sum = 0;
    for (size_t i = 0; i < (size_t)image.width * (size_t)image.height * (size_t)channels; i++)
        sum += image.pixels[i];
    CHECK(sum != UINT32_MAX);
    return TL_OK;
}

static tl_status run_one(machine *m, const uint8_t *data, size_t size, int channels,
                         const tl_resize_spec *spec, tl_error *err)
{
    tl_pixels pixels;
    TL_TRY(decode(m, data, size, channels, spec->pipeline, &pixels, err));
    TL_TRY(tl_resizer_run(&m->resizer, &pixels, spec, m->out, err));
    if (spec->interpolation == TL_INTERPOLATION_NEAREST)
        TL_TRY(tl_resizer_run_u8(&m->resizer, &pixels, spec, m->out_u8, err));
    return TL_OK;
}

static void test_all_ways(machine *m, const uint8_t *data, size_t size)
{
    const int channels[] = {1, 3, 4};
    tl_resize_spec spec = {WIDTH, HEIGHT, 0, 0, 0};
    for (int c = 0; c < 3; c++)
        for (int p = 0; p < TL_PIPELINE_COUNT; p++)
            for (int i = 0; i < TL_INTERPOLATION_COUNT; i++)
                for (int f = 0; f < TL_FIT_COUNT; f++) {
                    tl_error err = {0};
                    spec.pipeline = (tl_pipeline)p;
                    spec.interpolation = (tl_interpolation)i;
                    spec.fit = (tl_fit)f;
                    bool defined = p != TL_PIPELINE_KERAS || i <= TL_INTERPOLATION_BICUBIC;
                    tl_status status = run_one(m, data, size, channels[c], &spec, &err);
                    CHECK(status == (defined ? TL_OK : TL_UNSUPPORTED));
                    CHECK(err.code == status);
                }
    tl_image_info info;
    CHECK(tl_decoder_peek(data, size, 1 << 20, &info, NULL) == TL_OK);
    CHECK(tl_decoder_peek(data, size, 1, &info, NULL) == TL_FORMAT);
}

static const tl_resize_spec plain = {WIDTH, HEIGHT, TL_INTERPOLATION_BILINEAR, TL_PIPELINE_KERAS,
                                     TL_FIT_STRETCH};

static void test_truncated(machine *m, const uint8_t *data, size_t size)
{
    for (size_t n = 0; n < size; n++) {
        uint8_t *cut = malloc(n + (n == 0)); /* exactly n bytes for the sanitizer */
        memcpy(cut, data, n);
        tl_error err = {0};
        CHECK(run_one(m, cut, n, 3, &plain, &err) == TL_FORMAT);
        CHECK(err.text[0] != '\0');
        free(cut);
    }
}

static void test_flipped(machine *m, const uint8_t *data, size_t size, uint64_t seed)
{
    uint8_t *broken = malloc(size);
    for (uint64_t n = 0; n < 600; n++) {
        memcpy(broken, data, size);
        for (uint64_t k = 0; k <= n % 3; k++) {
            uint64_t random = tl_rng_u64(seed, n, k);
            broken[random % size] ^= (uint8_t)(1u << (random >> 60 & 7));
        }
        tl_error err = {0};
        tl_resize_spec spec = plain;
        spec.pipeline = (tl_pipeline)(n % TL_PIPELINE_COUNT);
        tl_status status = run_one(m, broken, size, n % 2 ? 3 : 4, &spec, &err);
        CHECK(status == TL_OK || status == TL_FORMAT || status == TL_NOMEM);
    }
    free(broken);
}

/* A fresh machine each time: every buffer is allocated. */
static tl_status run_from_file(const char *path, tl_interpolation interpolation, tl_error *err)
{
    machine *m = calloc(1, sizeof *m); /* too large for the stack of some systems */
    CHECK(m != NULL);
    size_t size;
    tl_resize_spec spec = {WIDTH, HEIGHT, interpolation, TL_PIPELINE_PIL, TL_FIT_PAD};
    tl_status status = tl_file_read(path, &m->decoder.file, &size, err);
    if (status == TL_OK)
        status = run_one(m, m->decoder.file.data, size, 4, &spec, err);
    deinit(m);
    free(m);
    return status;
}

/* Fails allocation 1, 2, ... until the whole thing succeeds again. */
static void test_no_memory(const char *path)
{
    for (int forever = 0; forever < 2; forever++) {
        long n = 0;
        tl_status status = TL_NOMEM;
        while (status != TL_OK) {
            tl_error err = {0};
            tl_alloc_fail_at(++n, forever);
            status = run_from_file(path, TL_INTERPOLATION_LANCZOS, &err);
            tl_alloc_fail_at(0, false);
            CHECK(status == TL_OK || (status == TL_NOMEM && strstr(err.text, "memory") != NULL));
            CHECK(n < 100);
        }
        CHECK(n >= 7); /* file, pixels, premultiplied, two tables, rows, sums */
    }
}

int main(int argc, char **argv)
{
    CHECK(argc > 1);
    machine *m = calloc(1, sizeof *m);
    CHECK(m != NULL);
    for (int i = 1; i < argc; i++) {
        size_t size;
        uint8_t *data = read_whole(argv[i], &size);
        test_all_ways(m, data, size);
        test_truncated(m, data, size);
        test_flipped(m, data, size, (uint64_t)i);
        test_no_memory(argv[i]);
        free(data);
    }
    tl_error err = {0};
    CHECK(run_from_file("/nowhere/at/all.png", TL_INTERPOLATION_BOX, &err) == TL_IO);
    CHECK(err.os_errno != 0 && strstr(err.text, "'/nowhere/at/all.png'") != NULL);
    deinit(m);
    free(m);
    printf("%d files\n", argc - 1);
    return 0;
}
