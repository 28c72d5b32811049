"""The acceptance of Stage 7: features.json, its proofs, and the mutations that show the proofs worth something.

`harness/stage-7-done.sh` is the way in. Read `features` for what a feature is,
`shim` and `spoiler` for how the product is broken without being rebuilt.
"""
