"""Paper tables: read finished runs and the paper's numbers, render tables and figures.

Nothing here trains or imports torch.
"""
