"""Which networks can be pruned, and what other tools make of them; see __main__.py."""
