"""One op: the learnable shift of RubiksNet in space and time."""
