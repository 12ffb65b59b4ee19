"""The published loops, restated from the specification of the method: what seqregen is measured against."""
