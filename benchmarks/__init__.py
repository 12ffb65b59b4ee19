"""Speed of seqregen beside the published loops, its peers, and the machine's limits. See ``python -m benchmarks``."""
