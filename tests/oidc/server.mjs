// The authorization server of the OAuth tests: oidc-provider, which rotates refresh tokens, notices when one is used
// twice, and wants PKCE from everyone; and one protected resource beside it. It speaks TLS with the certificate in CERT
// and KEY, and prints its port.
//
// Under /test it tells what it was asked for, and lets itself be broken: GET /test/counters, GET /test/tokens, POST /test/knobs,
// POST /test/forget (ends every access token, and no refresh token).

import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createSecureServer } from 'node:http2';
import { setTimeout as sleep } from 'node:timers/promises';
import Provider from 'oidc-provider';
import { makeKey, signed } from './signed.mjs';

// Nobody reads standard output after the port.
console.log = console.info = console.error;

const ISSUER = 'https://auth.acme.example';
const DEVICE = 'urn:ietf:params:oauth:grant-type:device_code';

const NORMAL = {
  accessTtl: 3600,
  // What the token endpoint does: 'normal', 'status' (answers `status`), 'garbage', 'error200' (an error with status 200),
  // 'echo' (an error that repeats what was sent), 'hang' (nothing at all).
  token: 'normal',
  status: 500,
  retryAfter: undefined,
  // Milliseconds before the token endpoint does its work, and before it answers.
  before: 0,
  after: 0,
  // The nested, renamed and comma-separated answer of the app `odd`.
  odd: false,
  sparse: false,
};
let knobs = { ...NORMAL };
const counters = {};
const count = (name) => { counters[name] = (counters[name] ?? 0) + 1; };
let issued = [];
// What is said of people beside their names: { alice: { groups: [...] } }. With `sparse`, userinfo alone says it.
let people = {};
// The token that the resource took last.
let taken = null;
// The last tokens that clients were given, of whatever kind.
let given = [];

const client = (id, more) => ({
  client_id: id,
  client_secret: `${id}-secret-4f1b7c2e9d`,
  redirect_uris: ['http://127.0.0.1:8471/callback', 'https://keyhole.example/oauth/callback'],
  response_types: ['code'],
  grant_types: ['authorization_code', 'refresh_token', DEVICE],
  ...more,
});

const provider = new Provider(ISSUER, {
  clients: [
    client('keyhole'),
    // A program on the member's machine comes back to any port of loopback (RFC 8252, section 7.3).
    client('keyhole-native', { application_type: 'native', redirect_uris: ['http://127.0.0.1/callback'] }),
    // Whom members of Keyhole sign in with.
    client('keyhole-sign-in', {
      redirect_uris: ['https://keyhole.example/sign-in/oidc/callback'],
      grant_types: ['authorization_code'],
    }),
    client('keyhole-body', { token_endpoint_auth_method: 'client_secret_post' }),
    client('robot', { grant_types: ['client_credentials'], redirect_uris: [], response_types: [] }),
  ],
  scopes: ['openid', 'offline_access', 'profile', 'email', 'notes.read', 'notes.write'],
  claims: { openid: ['sub', 'email'], profile: ['preferred_username', 'groups'], email: ['email_verified'] },
  conformIdTokenClaims: false,
  findAccount: (_, sub) => ({
    accountId: sub,
    claims: (use) => {
      const more = knobs.sparse && use === 'id_token' ? {} : { preferred_username: sub, ...people[sub] };
      return { sub, email: `${sub}@acme.example`, email_verified: true, ...more };
    },
  }),
  pkce: { required: () => true },
  rotateRefreshToken: true,
  issueRefreshToken: (_, client) => client.grantTypeAllowed('refresh_token'),
  features: {
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true },
    devInteractions: { enabled: true },
    revocation: { enabled: true },
    introspection: { enabled: true },
  },
  ttl: {
    AccessToken: () => knobs.accessTtl,
    ClientCredentials: () => knobs.accessTtl,
    RefreshToken: 86400,
    Grant: 86400,
    Session: 86400,
    Interaction: 600,
    DeviceCode: 600,
    AuthorizationCode: 60,
    IdToken: 3600,
  },
  cookies: { keys: ['a key of the tests'] },
});

provider.on('access_token.saved', (token) => issued.push(token));
provider.on('client_credentials.saved', (token) => issued.push(token));
provider.on('server_error', (_, error) => console.error(error));
provider.on('grant.error', (_, error) => count(`error:${error.error}`));
provider.on('grant.revoked', () => count('grant revoked'));

async function body(ctx) {
  const chunks = [];
  for await (const chunk of ctx.req) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

async function control(ctx) {
  switch (`${ctx.method} ${ctx.path}`) {
    case 'GET /test/counters':
      ctx.body = { ...counters };
      break;
    // Never to be opened in a browser, whose recordings are searched for them.
    case 'GET /test/tokens':
      ctx.body = { taken, given };
      break;
    case 'POST /test/knobs':
      knobs = { ...NORMAL, ...JSON.parse(await body(ctx)) };
      ctx.body = knobs;
      break;
    case 'POST /test/people':
      people = JSON.parse(await body(ctx));
      ctx.body = people;
      break;
    // A private key that the services of signed.mjs know.
    case 'POST /test/key':
      ctx.body = await makeKey(JSON.parse(await body(ctx)));
      break;
    case 'POST /test/forget':
      await Promise.all(issued.map((token) => token.destroy()));
      issued = [];
      ctx.body = {};
      break;
    default:
      ctx.status = 404;
  }
}

// What the tokens are for.
async function resource(ctx) {
  const [, value] = /^Bearer (.+)$/.exec(ctx.get('authorization')) ?? [];
  const token = value && (await provider.AccessToken.find(value) ?? await provider.ClientCredentials.find(value));
  count(token ? 'resource' : 'resource refused');
  if (!token) {
    ctx.status = 401;
    ctx.set('www-authenticate', 'Bearer error="invalid_token"');
    ctx.body = { error: 'invalid_token' };
    return;
  }
  taken = value;
  ctx.body = { sub: token.accountId, client: token.clientId, scope: token.scope, sent: await body(ctx), token: value };
}

async function broken(ctx) {
  switch (knobs.token) {
    case 'status':
      ctx.status = knobs.status;
      if (knobs.retryAfter !== undefined) ctx.set('retry-after', String(knobs.retryAfter));
      ctx.body = 'the database is on fire';
      return true;
    case 'hang':
      await once(ctx.res, 'close');
      return true;
    case 'garbage':
      ctx.body = '<html>Welcome!</html>';
      return true;
    case 'error200':
      ctx.body = { ok: false, error: 'ratelimited' };
      return true;
    case 'echo':
      ctx.status = 400;
      ctx.body = { error: 'invalid_request', error_description: `what is this? ${await body(ctx)} ${ctx.get('authorization')}` };
      return true;
    default:
      return false;
  }
}

provider.use(async (ctx, next) => {
  if (ctx.path.startsWith('/test/')) return control(ctx);
  if (ctx.path === '/api/notes') return resource(ctx);
  if (await signed(ctx, knobs, count, body)) return undefined;
  if (ctx.path !== '/token') {
    if (ctx.path === '/token/revocation') count('revocation');
    return next();
  }
  count('token requests');
  const { before, after } = knobs;
  if (before) await sleep(before);
  if (await broken(ctx)) return undefined;
  await next();
  const grant = ctx.oidc?.params?.grant_type;
  count(ctx.status === 200 ? grant : `${grant} refused`);
  if (ctx.status === 200) {
    const { access_token, refresh_token, id_token } = ctx.body;
    given = [...given, access_token, refresh_token, id_token].filter((token) => token !== undefined).slice(-100);
  }
  if (after) await sleep(after);
  if (knobs.odd && ctx.status === 200) {
    const { access_token, refresh_token, scope, expires_in } = ctx.body;
    const user = { id: 'U42', access_token, refresh_token, scope: scope.replaceAll(' ', ',') };
    ctx.body = { ok: true, user, team: { id: 'T7' }, lasts: String(expires_in), instance_url: 'https://tenant.acme.example/x' };
  }
  return undefined;
});

// HTTP/2, so that a thousand runs do not need a thousand connections.
const tls = { cert: readFileSync(process.env.CERT), key: readFileSync(process.env.KEY), allowHTTP1: true };
const server = createSecureServer(tls, provider.callback());
server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 });
await once(server, 'listening');
process.stdout.write(`${server.address().port}\n`);
// Whoever started it is gone: so is the server.
process.stdin.resume();
process.stdin.on('end', () => process.exit());
