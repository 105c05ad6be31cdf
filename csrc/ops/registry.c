#include "ops/step.h"

static const tl_op *const ops[] = {
#define X(name) &tl_op_##name,
#include "graph/ops.def"
#undef X
};

const tl_op *tl_op_find(tl_op_kind kind)
{
    return kind >= 0 && kind < TL_OP_COUNT ? ops[kind] : NULL;
}
