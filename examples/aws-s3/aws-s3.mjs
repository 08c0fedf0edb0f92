import { GetObjectCommand, ListObjectsV2Command, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';

export default defineComponent({
  name: 'aws-s3',
  version: '0.1.0',
  props: {
    aws: { type: 'app', app: 'aws' },
    bucket: { type: 'string' },
    key: { type: 'string', default: 'hello world.txt' },
    text: { type: 'string', default: 'Hello, world!' },
  },
  async run() {
    const { region, access_key_id, secret_access_key, session_token } = this.aws.$auth;
    const s3 = new S3Client({
      region,
      credentials: { accessKeyId: access_key_id, secretAccessKey: secret_access_key, sessionToken: session_token },
    });
    const { bucket: Bucket, key: Key, text: Body } = this;
    await s3.send(new PutObjectCommand({ Bucket, Key, Body, ContentType: 'text/plain' }));
    const { Contents } = await s3.send(new ListObjectsV2Command({ Bucket, Prefix: Key }));
    const object = await s3.send(new GetObjectCommand({ Bucket, Key }));
    return { listed: Contents?.map((one) => one.Key), text: await object.Body.transformToString() };
  },
});
