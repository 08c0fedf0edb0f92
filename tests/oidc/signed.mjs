// Services that know an account by what its keys sign, as their own documents say: GitHub, Google, Apple and X by their
// hosts, and /signed/ALG here. What verifies is npm `jose` and npm `oauth-1.0a`.

import { createHmac, generateKeyPairSync, randomBytes } from 'node:crypto';
import { jwtVerify } from 'jose';
import OAuth from 'oauth-1.0a';

// What the tests made: by algorithm, the key that verifies.
const keys = new Map();
// Access tokens that were given out, and until when they work.
const given = new Map();

// Makes a key for `alg` and returns it as an account's owner would have it.
export function makeKey({ alg, pkcs1 }) {
  if (alg === 'HS256') {
    const secret = randomBytes(32).toString('hex');
    keys.set(alg, Buffer.from(secret));
    return { key: secret };
  }
  const [kind, options] = {
    RS256: ['rsa', { modulusLength: 2048 }],
    ES256: ['ec', { namedCurve: 'P-256' }],
    EdDSA: ['ed25519', {}],
  }[alg];
  const { publicKey, privateKey } = generateKeyPairSync(kind, options);
  keys.set(alg, publicKey);
  return { key: privateKey.export({ type: pkcs1 ? 'pkcs1' : 'pkcs8', format: 'pem' }) };
}

const verify = (token, alg, rules) => jwtVerify(token, keys.get(alg), { algorithms: [alg], requiredClaims: ['iat', 'exp'], ...rules });
const bearer = (ctx) => /^Bearer (.+)$/.exec(ctx.get('authorization'))?.[1] ?? '';

function give(prefix, seconds) {
  const token = prefix + randomBytes(20).toString('hex');
  given.set(token, Date.now() + seconds * 1000);
  return token;
}

// No longer than the service says that one may live. Some measure it from their own clock.
function lives(payload, seconds) {
  if (payload.exp - payload.iat > seconds || payload.exp - Date.now() / 1000 > seconds) throw new Error('it lives too long');
}

// Whether the request was for one of these services.
export async function signed(ctx, knobs, count, body) {
  const at = `${ctx.method} ${ctx.hostname}${ctx.path}`;
  try {
    const service = Object.keys(services).find((route) => at.startsWith(route));
    if (!service) return false;
    await services[service](ctx, knobs, count, body);
    count(`${service} took it`);
  } catch (error) {
    count(`${at} refused`);
    ctx.status = 401;
    ctx.body = { message: 'Bad credentials', error: 'invalid_grant', error_description: error.message, errors: [{ detail: error.message }] };
  }
  return true;
}

function resource(ctx) {
  const token = bearer(ctx);
  if (!(given.get(token) > Date.now())) throw new Error('no such token');
  ctx.body = { token };
}

// X's: OAuth 1.0a, over the query and a form's fields.
async function oauth1(ctx, knobs, count, body) {
  const header = ctx.get('authorization');
  if (!header.startsWith('OAuth ')) throw new Error('no OAuth header');
  const given = Object.fromEntries(header.slice(6).split(', ').map((pair) => /^(\w+)="(.*)"$/.exec(pair).slice(1)));
  const consumer = { key: 'xvz1evFS4wEEPTGEFPHBog', secret: 'kAcSOqF21Fu85e7zjz7ZN2U4ZRhfV3WpwPAoE3Z7kBw' };
  const token = { key: '370773112-GmHxMAgYyLbNEtIKZeRNFsMKPR9EyMZeS9weJAEb', secret: 'LswwdoUaIvS8ltyTt5jkRh4J50vUPVVHtR2YPi5kE' };
  const oauth = new OAuth({
    consumer,
    signature_method: 'HMAC-SHA1',
    hash_function: (text, key) => createHmac('sha1', key).update(text).digest('base64'),
  });
  const text = await body(ctx);
  const form = ctx.is('application/x-www-form-urlencoded') ? Object.fromEntries(new URLSearchParams(text)) : {};
  const url = `https://${ctx.hostname}${ctx.url}`;
  const parameters = { ...given };
  delete parameters.oauth_signature;
  const real = oauth.getSignature({ url, method: ctx.method, data: form }, token.secret, parameters);
  if (decodeURIComponent(given.oauth_signature) !== real) throw new Error(`the signature is not ${real}`);
  if (given.oauth_consumer_key !== consumer.key || given.oauth_token !== token.key) throw new Error('another key');
  if (Math.abs(given.oauth_timestamp - Date.now() / 1000) > 60) throw new Error('an old one');
  ctx.body = { data: { id: '370773112', username: 'ann' }, header, sent: text };
}

const services = {
  'GET api.x.com/2/': oauth1,
  'POST api.x.com/2/': oauth1,
  // https://docs.github.com/en/rest/apps/apps#create-an-installation-access-token-for-an-app
  'POST api.github.com/app/installations/42/access_tokens': async (ctx, knobs) => {
    const { payload } = await verify(bearer(ctx), 'RS256', { issuer: 'Iv1.8a61f9b3a7aba766' });
    lives(payload, 600);
    const seconds = knobs.accessTtl;
    ctx.status = 201;
    ctx.body = {
      token: give('ghs_', seconds),
      expires_at: new Date(Date.now() + seconds * 1000).toISOString().replace(/\.\d+/, ''),
      permissions: { issues: 'write' },
    };
  },
  'GET api.github.com/installation/repositories': resource,
  // https://developers.google.com/identity/protocols/oauth2/service-account#httprest
  'POST oauth2.googleapis.com/token': async (ctx, knobs, count, body) => {
    const form = new URLSearchParams(await body(ctx));
    if (form.get('grant_type') !== 'urn:ietf:params:oauth:grant-type:jwt-bearer') throw new Error('another grant');
    const rules = { issuer: 'robot@project.iam.gserviceaccount.com', audience: 'https://oauth2.googleapis.com/token' };
    const { payload } = await verify(form.get('assertion'), 'RS256', rules);
    lives(payload, 3600);
    if (payload.scope !== 'https://www.googleapis.com/auth/cloud-platform') throw new Error(`the scope ${payload.scope}`);
    ctx.body = { access_token: give('ya29.c.', knobs.accessTtl), expires_in: knobs.accessTtl, token_type: 'Bearer' };
  },
  'GET storage.googleapis.com/': resource,
  // https://developer.apple.com/documentation/appstoreconnectapi/generating-tokens-for-api-requests
  'GET api.appstoreconnect.apple.com/v1/apps': async (ctx) => {
    const rules = { issuer: '57246542-96fe-1a63-e053-0824d011072a', audience: 'appstoreconnect-v1' };
    const { payload, protectedHeader } = await verify(bearer(ctx), 'ES256', rules);
    lives(payload, 1200);
    if (protectedHeader.kid !== '2X9R4HXF34' || protectedHeader.typ !== 'JWT') throw new Error('another header');
    ctx.body = { data: [], token: bearer(ctx) };
  },
  'GET auth.acme.example/signed/': async (ctx) => {
    const alg = ctx.path.split('/')[2];
    const { payload, protectedHeader } = await verify(bearer(ctx), alg, { audience: 'https://auth.acme.example/' });
    ctx.body = { payload, header: protectedHeader, token: bearer(ctx) };
  },
};
