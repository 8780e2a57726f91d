"""Artifacts, tree and proofs: the ground floor."""
