"""One round with boto3: BUCKET OWN_PREFIX OTHER_PREFIX, the body on stdin, a Round on stdout."""
import json
import os
import sys

import boto3
from botocore.exceptions import ClientError

bucket, own, other = sys.argv[1:]
session = boto3.session.Session()
s3 = session.client("s3")


def refusal(call, **arguments):
    try:
        call(Bucket=bucket, **arguments)
        return ""
    except ClientError as error:
        return error.response["Error"]["Code"]


s3.put_object(Bucket=bucket, Key=f"{own}mail", Body=sys.stdin.read().encode())
read = s3.get_object(Bucket=bucket, Key=f"{own}mail")["Body"].read().decode()
listed = [item["Key"].removeprefix(own) for item in s3.list_objects_v2(Bucket=bucket, Prefix=own)["Contents"]]
seen = {
    "source": session.get_credentials().method,
    "variables": sorted(name for name in os.environ if name.startswith("AWS_")),
    "read": read,
    "listed": listed,
    "refused": {
        "get": refusal(s3.get_object, Key=f"{other}secret"),
        "put": refusal(s3.put_object, Key=f"{other}planted", Body=b"x"),
        "list": refusal(s3.list_objects_v2, Prefix=other),
    },
}
json.dump(seen, sys.stdout)
