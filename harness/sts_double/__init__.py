"""A strict stand-in for AWS STS and the part of IAM that the broker rests on.

No open emulator proves that the nested claim `https://aws.amazon.com/tags` of a
*verified* token becomes principal tags. This one does, and it refuses what AWS
refuses. It also fails on demand, which AWS does not.

Run it with `python -m sts_double --issuer URL`; see `__main__` for the options.
"""
