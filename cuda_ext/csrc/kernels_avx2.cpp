#define ISA avx2
#define BYTES 32
#include "kernels.inc"
