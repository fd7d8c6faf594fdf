"""What a gradient needs besides the paper's formula: ranks, one descent, one pass over samples, published policies,
gradients by hand.
"""
