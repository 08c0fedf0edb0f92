// One Chromium for many tests at once, each in contexts of its own. Every line on standard input is a call, as JSON:
// { id, do, page, ... }; every line on standard output its answer: { id, answer } or { id, error }. It ends with its input.
//
// CHROMIUM: the program. HOSTS: Chromium's --host-resolver-rules, if names lead to servers on loopback.
//
// All that a context was answered is kept, so that a test can search it for what should not be there; so is what the
// browser had to complain about.

import { rm, writeFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { chromium } from 'playwright-core';
import { audit, overflow, unreached } from './judge.mjs';

const { CHROMIUM, HOSTS } = process.env;
// What is not there after this long does not come.
const PATIENCE = 20_000;
const READING = 3_000;
// Bytes of a screenshot that is kept as it is.
const SMALL = 60_000;

const browser = await chromium.launch({
  executablePath: CHROMIUM,
  args: [
    // Root has no sandbox, and loopback is all that there is.
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage', '--hide-scrollbars',
    ...(HOSTS ? [`--host-resolver-rules=${HOSTS}`] : []),
  ],
});

const pages = new Map();
let made = 0;

function enter(page, kept) {
  const name = `page ${++made}`;
  pages.set(name, { page, kept });
  page.on('pageerror', (error) => kept.complaints.push(`${page.url()}: ${error.message}`));
  page.on('console', (message) => {
    const text = message.text();
    // An answer of 4xx is what some tests ask for.
    if (message.type() === 'error' && !/^Failed to load resource/.test(text)) kept.complaints.push(`${page.url()}: ${text}`);
  });
  page.on('response', (response) => kept.answers.push(answered(response)));
  return { page: name };
}

// What comes of it soon. Of an answer whose page was left meanwhile nothing may come.
const within = (promise, otherwise) =>
  Promise.race([promise.catch(() => otherwise), sleep(READING, otherwise, { ref: false })]);

// Everything that the browser got. A redirect has no body, and a stream of events no end.
async function answered(response) {
  if (response.headers()['content-type']?.startsWith('text/event-stream')) {
    return { url: response.url(), status: response.status(), headers: response.headers(), body: '' };
  }
  const headers = await within(response.allHeaders(), response.headers());
  const body = await within(response.text(), '');
  return { url: response.url(), status: response.status(), headers, body };
}

// What a person would look for: its role and name, the label that it has, or what it says. Names are whole but for
// choices, whose names explain them, too.
function thing(page, { role, name, label, says, css }) {
  // Of others' pages, which need not be as ours.
  if (css !== undefined) return page.locator(css).first();
  if (label !== undefined) return page.getByLabel(label, { exact: true }).first();
  if (says !== undefined) return page.getByText(says, { exact: true }).filter({ visible: true }).first();
  const exact = role !== 'radio' && role !== 'checkbox';
  return page.getByRole(role, { name, exact }).first();
}

const calls = {
  async open({ options = {} }) {
    const context = await browser.newContext({ ignoreHTTPSErrors: true, ...options });
    context.setDefaultTimeout(PATIENCE);
    const kept = { answers: [], complaints: [] };
    return enter(await context.newPage(), kept);
  },
  async close({ at: { page } }) {
    await page.context().close();
  },
  async goto({ at: { page }, url }) {
    const response = await page.goto(url);
    // A page that is left takes with it what was not read of it yet.
    if (response) await within(response.text(), '');
    return { status: response?.status() ?? null, headers: await response?.allHeaders() };
  },
  async reload({ at: { page } }) {
    await page.reload();
  },
  async size({ at: { page }, width, height, scheme }) {
    await page.setViewportSize({ width, height });
    await page.emulateMedia({ colorScheme: scheme });
  },
  async click({ at: { page }, ...what }) {
    await thing(page, what).click();
  },
  // Letter by letter, so that what follows what is typed has its chance.
  async type({ at: { page }, text, ...what }) {
    await thing(page, what).pressSequentially(text);
  },
  async fill({ at: { page }, text, ...what }) {
    await thing(page, what).fill(text);
  },
  async select({ at: { page }, text, ...what }) {
    await thing(page, what).selectOption(text);
  },
  async check({ at: { page }, ...what }) {
    await thing(page, what).check();
  },
  async press({ at: { page }, key }) {
    await page.keyboard.press(key);
  },
  async value({ at: { page }, ...what }) {
    return thing(page, what).inputValue();
  },
  async checked({ at: { page }, ...what }) {
    return thing(page, what).isChecked();
  },
  async count({ at: { page }, role, name }) {
    return page.getByRole(role, name === undefined ? {} : { name, exact: true }).count();
  },
  // Waits for a text that can be seen, or a thing.
  async sees({ at: { page }, text, ...what }) {
    await (what.role ? thing(page, what) : page.getByText(text).filter({ visible: true }).first()).waitFor();
  },
  async gone({ at: { page }, text }) {
    await page.getByText(text).filter({ visible: true }).first().waitFor({ state: 'hidden' });
  },
  // Waits until it is at an address that ends so, query and all.
  async arrives({ at: { page }, pattern }) {
    await page.waitForURL(new RegExp(pattern));
    return page.url();
  },
  async address({ at: { page } }) {
    return page.url();
  },
  async text({ at: { page } }) {
    return page.locator('body').innerText();
  },
  async evaluate({ at: { page }, script }) {
    return page.evaluate(script);
  },
  async cookies({ at: { page } }) {
    return page.context().cookies();
  },
  async give({ at: { page }, cookies }) {
    await page.context().addCookies(cookies);
  },
  // A device that keeps passkeys, as long as the page is there: its person is who they are, or not.
  async device({ at: { page }, verified = true }) {
    const session = await page.context().newCDPSession(page);
    await session.send('WebAuthn.enable');
    const options = {
      protocol: 'ctap2', transport: 'internal', hasResidentKey: true, hasUserVerification: true,
      isUserVerified: verified, automaticPresenceSimulation: true,
    };
    await session.send('WebAuthn.addVirtualAuthenticator', { options });
  },
  // All that scripts could keep in the browser.
  async storage({ at: { page } }) {
    const { origins } = await page.context().storageState({ indexedDB: true });
    return { origins, session: await page.evaluate(() => JSON.stringify({ ...sessionStorage })) };
  },
  async answers({ at: { kept } }) {
    return Promise.all(kept.answers);
  },
  async complaints({ at: { kept } }) {
    return kept.complaints;
  },
  async audit({ at: { page }, rules }) {
    return audit(page, rules);
  },
  async overflow({ at: { page } }) {
    return overflow(page);
  },
  async unreached({ at: { page } }) {
    return unreached(page);
  },
  // What of the page fits the window, as a small file. Gives the path with its ending.
  async screenshot({ at: { page }, path }) {
    const png = await page.screenshot();
    const small = png.length <= SMALL;
    const file = `${path}.${small ? 'png' : 'jpg'}`;
    await rm(`${path}.${small ? 'jpg' : 'png'}`, { force: true });
    await writeFile(file, small ? png : await page.screenshot({ type: 'jpeg', quality: 80 }));
    return file;
  },
};

async function take(line) {
  const { id, do: what, page: name, ...more } = JSON.parse(line);
  const at = pages.get(name);
  try {
    const answer = await calls[what]({ at, ...more });
    return { id, answer: answer ?? null };
  } catch (error) {
    // Where it was says more than that something did not come.
    const there = await at?.page.locator('body').innerText({ timeout: 1000 }).catch(() => '(nothing)');
    return { id, error: `${error.message}\nat ${at?.page.url()}, which says:\n${there}` };
  }
}

// Whoever asked is gone.
process.stdout.on('error', () => process.exit());

const lines = createInterface({ input: process.stdin });
lines.on('line', async (line) => process.stdout.write(`${JSON.stringify(await take(line))}\n`));
lines.on('close', async () => {
  await browser.close();
  process.exit();
});
