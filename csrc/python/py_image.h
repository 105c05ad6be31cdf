/* Shared by py_image.c and py_loader.c. */
#ifndef TL_PYTHON_PY_IMAGE_H
#define TL_PYTHON_PY_IMAGE_H

#include "state.h"

#include "image/image.h"

/* Index of `value` in the table of words (enum order), or -1 with an exception that lists them. */
int tl_py_pipeline(const char *value);
int tl_py_interpolation(const char *value);
int tl_py_fit(const char *value);

/* 1 or 0: whether channels is 1, 3 or 4; 0 comes with an exception. */
int tl_py_check_channels(int channels);

#endif
