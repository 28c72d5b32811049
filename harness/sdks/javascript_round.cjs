// One round with the SDK for JavaScript v3: NODE_DIRECTORY BUCKET OWN_PREFIX OTHER_PREFIX,
// the body on stdin, a Round on stdout.
const { createRequire } = require("node:module");
const { readFileSync } = require("node:fs");

const [directory, bucket, own, other] = process.argv.slice(2);
const { S3Client, PutObjectCommand, GetObjectCommand, ListObjectsV2Command } = createRequire(`${directory}/`)(
  "@aws-sdk/client-s3",
);

async function main() {
  const s3 = new S3Client();
  const send = (Command, input) => s3.send(new Command({ Bucket: bucket, ...input }));
  const refusal = (Command, input) =>
    send(Command, input).then(
      () => "",
      (error) => error.name,
    );

  await send(PutObjectCommand, { Key: `${own}mail`, Body: readFileSync(0) });
  const read = await (await send(GetObjectCommand, { Key: `${own}mail` })).Body.transformToString();
  const listed = await send(ListObjectsV2Command, { Prefix: own });
  const credentials = await s3.config.credentials();
  return {
    // Where each provider of the chain says that a credential came from.
    source: Object.keys(credentials.$source ?? {}).sort().join(" "),
    variables: Object.keys(process.env)
      .filter((name) => name.startsWith("AWS_"))
      .sort(),
    read,
    listed: listed.Contents.map((item) => item.Key.slice(own.length)),
    refused: {
      get: await refusal(GetObjectCommand, { Key: `${other}secret` }),
      put: await refusal(PutObjectCommand, { Key: `${other}planted`, Body: "x" }),
      list: await refusal(ListObjectsV2Command, { Prefix: other }),
    },
  };
}

main().then(
  (seen) => process.stdout.write(JSON.stringify(seen)),
  (error) => {
    process.stderr.write(`${error.name}: ${error.message}\n`);
    process.exitCode = 1;
  },
);
