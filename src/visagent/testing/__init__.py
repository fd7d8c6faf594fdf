"""Tiny worlds and checks that anyone can use on their own env, expert or DataModule."""
