"""Move a policy to where the worlds run, bring experience back."""
