/* A kernel body's numbers in memory are floats. Included behind vector_body.h. */
#define ELEMENT float
#define LOAD(p) NAME(load)(p)
#define STORE(p, x) NAME(store)(p, x)
#define GET(p) (*(p))
#define PUT(p, x) (*(p) = (x))
#define SWISH "kernels/swish_f32.h"
